# A session that has attached a sink, and not committed, holds the row of a pipeline in which the publisher has to note that it has compared, or to
# which cluster the server leads. The output of that pipeline waits, says so and goes on by itself; all others go on meanwhile. A session that has
# resumed a pipeline, and not committed, holds up no message at all; one that has decided about ordinary transactions holds up those. One that
# has changed the definition of a topic, or renamed a server, or rewrites the tables of ordinary transactions, stops no pipeline.

use strict;
use warnings;
use KafkaViews;
use PostgreSQL::Test::Utils;
use Test::More;

my $broker = KafkaViews::Broker->new;
my $node = new_node('main', broker => $broker, init => [ allows_streaming => 1 ]);
my %fed = map { $_ => 0 } qw(one two three facts others);

sub query { return $node->safe_psql('postgres', $_[0]) }
sub ids { my ($topic) = @_; return join ' ', sort { $a <=> $b } map { /(\d+)/ } $broker->consume($topic, format => '%v') }

# Gives a pipeline, or the ordinary transactions, one more record.
sub feed
{
	my ($name) = @_;
	my $id = ++$fed{$name};

	return $name =~ /^(facts|others)$/ ? query("INSERT INTO $name VALUES ($id)") : $broker->produce("${name}_in", qq(\\N\t{"id":$id}));
}

sub arrived { my ($name) = @_; return ids($name =~ /^(facts|others)$/ ? $name : "${name}_out") eq join ' ', 1 .. $fed{$name} }

# Feeds all of these, and waits for it.
sub all_go_on
{
	my ($what, @names) = @_;

	feed($_) for @names;
	wait_until("$what: record $fed{$_} of $_", sub { return arrived($_) }) for @names;
	pass("$what: all others go on");
	return;
}

# The status of the locked pipeline.
sub one_error { return query(q(SELECT publish_error FROM kafka.pipelines WHERE pipeline = 'one')) }

# Checks that the others go on, whatever the first pipeline waits for, and that it says so.
sub others_go_on
{
	my ($what) = @_;

	wait_until('the pipeline to say that it waits', sub { return one_error() =~ /^publishing waits for a transaction that has locked pipeline "one"$/ });
	feed('one');
	feed($_) for qw(two facts);
	wait_until("record $fed{$_} of $_", sub { return arrived($_) }) for qw(two facts);
	ok(!arrived('one'), "$what: the others go on");
	return;
}

# Checks that the pipeline goes on too.
sub goes_on
{
	my ($what) = @_;

	wait_until('the pipeline to go on', sub { return arrived('one') });
	wait_until('the error to go', sub { return one_error() eq '' });
	pass("$what: it goes on by itself, each message once");
	return;
}

$broker->create($_, 1, 'retention.ms=-1') for qw(one_in one_out two_in two_out three_in three_out facts more again others);
query(<<~'SQL');
	CREATE FOREIGN TABLE facts (id int) SERVER broker OPTIONS (topic 'facts');
	CREATE FOREIGN TABLE more (id int) SERVER broker OPTIONS (topic 'more');
	CREATE FOREIGN TABLE again (id int) SERVER broker OPTIONS (topic 'again');
	SQL

# Makes a pipeline with a sink.
sub make
{
	my ($name) = @_;

	return query(<<~"SQL");
		CREATE FOREIGN TABLE ${name}_in (id int) SERVER broker OPTIONS (topic '${name}_in');
		CREATE FOREIGN TABLE ${name}_out (id int) SERVER broker OPTIONS (topic '${name}_out');
		BEGIN;
		CREATE MATERIALIZED VIEW $name WITH (kafka.continuous) AS SELECT id FROM ${name}_in;
		SELECT kafka.attach_sink('$name', '${name}_out');
		COMMIT;
		SQL
}
make($_) for qw(one two);
feed($_) for qw(one two facts);
wait_until("the first record of $_", sub { return arrived($_) }) for qw(one two facts);
wait_for_view($node, $_) for qw(one two);

# it has compared
$broker->freeze;
query('SELECT kafka.adopt(take_over => true)');
my $session = $node->background_psql('postgres', on_error_die => 1);
$session->query_safe(q{BEGIN; SELECT kafka.attach_sink('one', 'more')});
$broker->thaw;
others_go_on('compared');
$session->query_safe('COMMIT');
goes_on('compared');
wait_until('the rows of the second sink', sub { return ids('more') eq join ' ', 1 .. $fed{one} });

# to which cluster the server leads
my $batch = query(q{SELECT published_batch FROM kafka.pipelines WHERE pipeline = 'one'});
my $worker = kill_worker($node, 'kafka_views worker one', 'STOP');
query("SELECT kafka.resume('one', published => $batch)");
$session->query_safe(q{BEGIN; SELECT kafka.attach_sink('one', 'again')});
kill_worker($node, 'publisher', 'TERM');
kill 'CONT', $worker;
others_go_on('cluster');
$session->query_safe('COMMIT');
goes_on('cluster');

# what is noted as published
my $publisher = kill_worker($node, 'publisher', 'STOP');
feed('one');
wait_until('the worker to have applied it', sub { return query('SELECT count(*) FROM one') == $fed{one} });
$batch = query(q{SELECT published_batch FROM kafka.pipelines WHERE pipeline = 'one'});
$session->query_safe("BEGIN; SELECT kafka.resume('one', published => $batch)");
kill 'CONT', $publisher;
wait_until("record $fed{one} of one", sub { return arrived('one') });
feed($_) for qw(two facts);
wait_until("record $fed{$_} of $_", sub { return arrived($_) }) for qw(two facts);
pass('note: the others go on');
$session->query_safe('COMMIT');
wait_until('it to be noted', sub { return query(q{SELECT published_batch FROM kafka.pipelines WHERE pipeline = 'one'}) > $batch });
feed('one');
goes_on('note');

# the first time that something is noted
$publisher = kill_worker($node, 'publisher', 'STOP');
make('three');
feed('three');
wait_until('the worker to have applied it', sub { return query('SELECT count(*) FROM three') == 1 });
$session->query_safe("BEGIN; SELECT kafka.resume('three', published => 0)");
kill 'CONT', $publisher;
wait_until('the record of three', sub { return arrived('three') });
feed($_) for qw(two facts);
wait_until("record $fed{$_} of $_", sub { return arrived($_) }) for qw(two facts);
pass('first note: the others go on');
$session->query_safe('ROLLBACK');
wait_until('it to be noted', sub { return query(q{SELECT published_batch FROM kafka.pipelines WHERE pipeline = 'three'}) > 0 });

# the batch of ordinary transactions
$broker->freeze;
feed('facts');
wait_until('the batch to be under way', sub { return query('SELECT NOT published FROM kafka_state.transaction_batch') eq 't' });
$session->query_safe('BEGIN; SELECT FROM kafka_state.transaction_batch FOR UPDATE');
$broker->thaw;
wait_until('the publisher to say what it waits for', sub {
	return query(q(SELECT publish_error FROM kafka.topics WHERE topic = 'facts')) =~ /has locked their batch/ });
feed($_) for qw(one two);
wait_until("record $fed{$_} of $_", sub { return arrived($_) }) for qw(one two);
pass('ordinary transactions: the others go on');
wait_until('no sink of theirs to have an error', sub { return query('SELECT count(*) FROM kafka.sinks WHERE error IS NOT NULL') eq '0' });
like(query(q(SELECT publish_error FROM kafka.topics WHERE topic = 'facts')), qr/has locked their batch/, 'and have no error, while ordinary transactions have');
$session->query_safe('COMMIT');
feed('facts');
wait_until('all of the messages', sub { return scalar $broker->consume('facts', format => '%v') >= $fed{facts} });
ok(arrived('facts'), 'they go on by themselves, each message once');

# the definition of the topic that a pipeline reads, while a new publisher finds out what Kafka has
$publisher = kill_worker($node, 'publisher', 'STOP');
feed('one');
wait_until('the worker to have applied it', sub { return query('SELECT count(*) FROM one') == $fed{one} });
$session->query_safe('BEGIN; ALTER FOREIGN TABLE one_in ADD COLUMN added int');
kill $_, $publisher for qw(TERM CONT);
all_go_on('definition', qw(two facts));
wait_until('what the pipeline had made', sub { return arrived('one') });
$session->query_safe('ROLLBACK');
all_go_on('definition, rolled back', 'one');

# the name of a server, while ordinary transactions write to it and to another one
query(sprintf(q{CREATE SERVER other FOREIGN DATA WRAPPER kafka OPTIONS (bootstrap_servers '%s')}, $broker->address));
query(q{CREATE FOREIGN TABLE others (id int) SERVER other OPTIONS (topic 'others')});
all_go_on('another server', qw(facts others));
wait_until('it to be noted', sub { return query('SELECT bool_and(published) FROM kafka_state.transaction_batch') eq 't' });
$session->query_safe('BEGIN; ALTER SERVER broker RENAME TO renamed');
all_go_on('renamed', qw(one two others));
my $writer = $node->background_psql('postgres', on_error_die => 1);
my $id = ++$fed{facts};
$writer->query_until(qr//, "INSERT INTO facts VALUES ($id);\n");
wait_until('the writer to wait', sub { return query(q{SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query ~ '^INSERT INTO facts'}) eq '1' });
kill_worker($node, 'publisher broker', 'TERM');
all_go_on('renamed, another publisher', qw(one two others));
$session->query_safe('COMMIT');
$writer->quit;
wait_until('the message', sub { return arrived('facts') });
is(query('SELECT DISTINCT server FROM kafka_state.transaction_batch ORDER BY 1'), "other\nrenamed", 'it has gone out under the new name');
all_go_on('renamed and committed', qw(one two others facts));

# the tables of ordinary transactions, by what rewrites them
$session->query_safe("BEGIN; LOCK TABLE kafka_state.$_ IN ACCESS EXCLUSIVE MODE") for 'transaction_outbox, kafka_state.transaction_batch';
kill_worker($node, 'supervisor', 'TERM');
wait_until('another supervisor to say so', sub {
	return query(q{SELECT count(*) FROM kafka_state.processes() WHERE kind = 'supervisor' AND error ~ 'locked'}) eq '1' });
all_go_on('rewritten', qw(one two));
wait_until('the publisher to say so', sub { return query(q(SELECT publish_error FROM kafka.topics WHERE topic = 'facts')) =~ /have been locked/ });
$session->query_safe('COMMIT');
all_go_on('rewritten and committed', qw(one two others facts));
wait_until('no error to be left', sub { return query('SELECT count(*) FROM kafka_state.processes() WHERE error IS NOT NULL') eq '0' });

$session->quit;
done_testing();
