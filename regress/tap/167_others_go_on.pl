# What a session does with one pipeline, or with the names of all, neither stops nor doubles messages of others: a DROP that is open for
# long, and kafka.fork() while a batch of ordinary transactions is on its way, or for long. What has gone out under the old names meanwhile
# does not go out again under the new ones, not after a crash either.

use strict;
use warnings;
use KafkaViews;
use PostgreSQL::Test::Utils;
use Test::More;

my $broker = KafkaViews::Broker->new;
my $node = new_node('main', broker => $broker, conf => "autovacuum = off\nkafka.transaction_size = 1kB");

sub query { return $node->safe_psql('postgres', $_[0]) }
sub ids { my ($topic) = @_; return join ' ', map { /(\d+)/ } $broker->consume($topic, format => '%v') }

$broker->create($_, 1, 'retention.ms=-1') for qw(one_in one_out two_in two_out facts);
query(<<~'SQL');
	CREATE FOREIGN TABLE facts (id int) SERVER broker OPTIONS (topic 'facts');
	SQL
for my $name (qw(one two))
{
	query(<<~"SQL");
		CREATE FOREIGN TABLE ${name}_in (id int) SERVER broker OPTIONS (topic '${name}_in');
		CREATE FOREIGN TABLE ${name}_out (id int) SERVER broker OPTIONS (topic '${name}_out');
		BEGIN;
		CREATE MATERIALIZED VIEW $name WITH (kafka.continuous) AS SELECT id FROM ${name}_in;
		CREATE TRIGGER publish AFTER INSERT ON $name REFERENCING NEW TABLE AS new FOR EACH STATEMENT EXECUTE FUNCTION kafka.publish('${name}_out');
		COMMIT;
		SQL
}
$broker->produce("${_}_in", qq(\\N\t{"id":1})) for qw(one two);
query('INSERT INTO facts VALUES (1)');
wait_for_sink($broker, $_, 1) for qw(one_out two_out facts);

# a session that has dropped a view and not committed
my $session = $node->background_psql('postgres', on_error_die => 1);
$session->query_safe('BEGIN; DROP MATERIALIZED VIEW one');
$broker->produce('two_in', qq(\\N\t{"id":2}));
query('INSERT INTO facts VALUES (2)');
wait_until('the others', sub { ids('two_out') eq '1 2' && ids('facts') eq '1 2' });
pass('a DROP that is not committed holds up nobody else');
$session->query_safe('COMMIT');
$session->quit;
wait_for_sink($broker, 'facts', 2);

# kafka.fork() while a batch of ordinary transactions is on its way
wait_until('the batch to be noted', sub { query('SELECT published FROM kafka_state.transaction_batch') eq 't' });
$broker->freeze;
query('INSERT INTO facts VALUES (3)');
wait_until('the publisher to wait', sub { query(q{SELECT count(*) FROM kafka_state.processes() WHERE error ~ 'publishing waits'}) ne '0' });
query('SELECT kafka.fork()');
$broker->thaw;
wait_until('all to be noted', sub { query('SELECT published FROM kafka_state.transaction_batch') eq 't' });
is(ids('facts'), '1 2 3', 'kafka.fork() while a batch is on its way: each message once');

# kafka.fork() in a session that does not commit, while a pipeline has something to publish that was made before
for my $name (qw(three four))
{
	$broker->create("${name}_$_", 1, 'retention.ms=-1') for qw(in out);
	query(<<~"SQL");
		CREATE FOREIGN TABLE ${name}_in (id int, pad text) SERVER broker OPTIONS (topic '${name}_in');
		CREATE FOREIGN TABLE ${name}_out (id int, pad text) SERVER broker OPTIONS (topic '${name}_out');
		BEGIN;
		CREATE MATERIALIZED VIEW $name WITH (kafka.continuous) AS SELECT id, pad FROM ${name}_in;
		CREATE TRIGGER publish AFTER INSERT ON $name REFERENCING NEW TABLE AS new FOR EACH STATEMENT EXECUTE FUNCTION kafka.publish('${name}_out');
		COMMIT;
		SQL
}

# Gives each pipeline three more records, and has the publisher publish them, each in a Kafka transaction of its own, while a session has
# called kafka.fork() and not committed.
sub publish_in_fork
{
	my ($last) = @_;
	my $all = join ' ', 1 .. $last;
	my $pad = 'x' x 9000;
	my $publisher = kill_worker($node, 'publisher', 'STOP');

	$broker->produce("${_}_in", map { qq(\\N\t{"id":$_,"pad":"$pad"}) } $last - 2 .. $last) for qw(three four);
	wait_until("$_ to be applied", sub { query("SELECT count(*) FROM $_") eq $last }) for qw(three four);
	$session = $node->background_psql('postgres', on_error_die => 1);
	$session->query_safe('BEGIN; SELECT kafka.fork()');
	kill 'CONT', $publisher or die "could not signal $publisher: $!";
	wait_until("the records of $_", sub { ids("${_}_out") eq $all }) for qw(three four);
	return;
}

# Is all noted that is out? As decided where the publisher had not heard of the fork, until the run that begins after it has published its positions.
sub noted
{
	return query(q{SELECT count(*) FROM kafka_state.published n JOIN kafka_state.pipeline p USING (pipeline) WHERE p.name IN ('three', 'four') AND n.batch = p.batch}) eq '2';
}

$broker->produce("${_}_in", qq(\\N\t{"id":1})) for qw(three four);
wait_for_sink($broker, "${_}_out", 1) for qw(three four);
wait_until('it to be noted', \&noted);
publish_in_fork(4);
pass('kafka.fork() that is not committed holds up no pipeline');
$session->query_safe('COMMIT');
$session->quit;
$broker->produce("${_}_in", qq(\\N\t{"id":5})) for qw(three four);
wait_for_sink($broker, "${_}_out", 5) for qw(three four);
is(ids("${_}_out"), '1 2 3 4 5', "$_: nothing goes out again under the new name") for qw(three four);
wait_until('it to be noted', \&noted);

# the same, and a crash before anybody else has flushed what was noted
publish_in_fork(8);
kill_unwritten($node, sub {
	$session->query_safe('COMMIT');
	wait_until('it to be noted', \&noted);
	$session->quit });
restart_after_crash($node);
$broker->produce("${_}_in", qq(\\N\t{"id":9})) for qw(three four);
wait_for_sink($broker, "${_}_out", 9) for qw(three four);
is(ids("${_}_out"), '1 2 3 4 5 6 7 8 9', "$_: nor after a crash") for qw(three four);

done_testing();
