# Topics without what a pipeline needs: a sink that is not there, records that were deleted before they were read, a topic that was deleted and
# created again and is longer than what was read. The first stops the publishing of that pipeline alone, the others that
# pipeline alone; each gives a hint, and where that is followed everything goes on.

use strict;
use warnings;
use KafkaViews;
use PostgreSQL::Test::Utils;
use Test::More;

my $broker = KafkaViews::Broker->new;
my $node = new_node('main', broker => $broker);

$broker->create($_, 1, 'retention.ms=-1') for qw(input_a input_b input_c output_a output_b);
for my $name (qw(a b c))
{
	$node->safe_psql('postgres', qq{
		CREATE FOREIGN TABLE input_$name (id int) SERVER broker OPTIONS (topic 'input_$name');
		CREATE FOREIGN TABLE output_$name (id int) SERVER broker OPTIONS (topic 'output_$name');
	});
}

# Makes the view of a pipeline with its sink; again, after the view was dropped.
sub make
{
	my ($name) = @_;

	$node->safe_psql('postgres', qq{
		BEGIN;
		CREATE MATERIALIZED VIEW view_$name WITH (kafka.continuous) AS SELECT id FROM input_$name;
		SELECT kafka.attach_sink('view_$name', 'output_$name');
		COMMIT;
	});
	return;
}

sub feed
{
	my ($name, @ids) = @_;

	$broker->produce("input_$name", map { '\N' . qq(\t{"id":$_}) } @ids);
	return;
}

sub ids { my ($topic) = @_; return join ' ', map { /(\d+)/ } $broker->consume($topic, format => '%v') }
sub rows { my ($name) = @_; return $node->safe_psql('postgres', "SELECT string_agg(id::text, ' ' ORDER BY id) FROM view_$name") }

# Waits until a pipeline says something like the pattern; returns the hint.
sub wait_for_error
{
	my ($name, $column, $pattern) = @_;

	wait_until("view_$name to report $pattern", sub {
		return $node->safe_psql('postgres', "SELECT $column FROM kafka.pipelines WHERE pipeline = 'view_$name'") =~ $pattern });
	return $node->safe_psql('postgres', "SELECT ${column}_hint FROM kafka.pipelines WHERE pipeline = 'view_$name'");
}

# The others do not notice.
my $beside = 0;
sub check_beside
{
	my ($what) = @_;

	feed('b', ++$beside);
	wait_for_view($node, 'view_b');
	is(ids('output_b'), join(' ', 1 .. $beside), "$what: another pipeline goes on");
	return;
}

make($_) for qw(a b c);
feed('a', 1 .. 3);
feed('b', ++$beside);
wait_for_view($node, $_) for qw(view_a view_b);
is(ids('output_a'), '1 2 3', 'it publishes');

# a sink that does not exist
feed('c', 1, 2);
like(wait_for_error('c', 'publish_error', qr/could not find topic "output_c"/), qr/Create the topic in Kafka/, 'the sink is not there');
is(rows('c'), '1 2', 'the view is kept up all the same');
check_beside('sink missing');
$broker->create('output_c', 1, 'retention.ms=-1');
wait_for_view($node, 'view_c');
is(ids('output_c'), '1 2', 'the hint followed: publishing goes on by itself');

# records that are deleted before they were read
$node->safe_psql('postgres', q{SELECT kafka.pause('view_a')});
wait_until('it to pause', sub { $node->safe_psql('postgres', q{SELECT phase FROM kafka.pipelines WHERE pipeline = 'view_a'}) eq 'paused' });
feed('a', 4 .. 6);
$broker->trim('input_a');
feed('a', 7, 8);
$node->safe_psql('postgres', q{SELECT kafka.resume('view_a')});
like(wait_for_error('a', 'error', qr/records of topic "input_a" partition 0 were deleted before pipeline "view_a" read them/),
	qr/Drop the views of the pipeline and create them again/, 'records are missing');
is(rows('a'), '1 2 3', 'the view stays as it was');
check_beside('records missing');
$node->safe_psql('postgres', 'DROP MATERIALIZED VIEW view_a');
make('a');
wait_for_view($node, 'view_a');
is(rows('a'), '7 8', 'the hint followed: it goes on without them');
is(ids('output_a'), '1 2 3 7 8', 'and publishes what is there');

# a topic that is another one than before; nothing in it tells
$node->stop;
$broker->delete('input_a');
wait_until('the topic to be gone', sub { return $broker->kv_kafka('', 'topics') !~ /^input_a\t/m });
$broker->create('input_a', 1, 'retention.ms=-1');
feed('a', 100 .. 120);
$node->start;
like(wait_for_error('a', 'error', qr/Kafka has lost the position of pipeline "view_a" in topic "input_a"/),
	qr/deleted and created again, drop the views of the pipeline and create them again/, 'the topic is another one');
is(rows('a'), '7 8', 'nothing of it is read');
check_beside('topic created again');
$node->safe_psql('postgres', 'DROP MATERIALIZED VIEW view_a');
make('a');
wait_for_view($node, 'view_a');
is(rows('a'), join(' ', 100 .. 120), 'the hint followed: it reads the new topic from its start');

# the same while the pipeline reads it
$broker->delete('input_a');
wait_for_error('a', 'error', qr/topic "input_a" does not exist/);
$broker->create('input_a', 1, 'retention.ms=-1');
feed('a', 200 .. 240);
wait_for_error('a', 'error', qr/Kafka has lost the position of pipeline "view_a" in topic "input_a"/);
is(rows('a'), join(' ', 100 .. 120), 'deleted while it is read: nothing of the new one is');

# the same while a batch from before waits to be published: its position is not stored for the new topic, or nothing would tell any more
$broker->create($_, 1, 'retention.ms=-1') for qw(input_d input_e output_d);
$node->safe_psql('postgres', q{
	CREATE FOREIGN TABLE input_d (id int) SERVER broker OPTIONS (topic 'input_d');
	CREATE FOREIGN TABLE input_e (id int) SERVER broker OPTIONS (topic 'input_e');
	CREATE FOREIGN TABLE output_d (id int) SERVER broker OPTIONS (topic 'output_d');
	BEGIN;
	CREATE MATERIALIZED VIEW view_d WITH (kafka.continuous) AS SELECT id FROM input_d UNION ALL SELECT id FROM input_e;
	SELECT kafka.attach_sink('view_d', 'output_d');
	COMMIT;
});
feed('d', 1);
feed('e', 2);
wait_for_view($node, 'view_d');
wait_until('it to be noted', sub { $node->safe_psql('postgres', q{
	SELECT count(*) FROM kafka_state.published JOIN kafka_state.pipeline p USING (pipeline) WHERE p.name = 'view_d' AND published.batch = p.batch}) eq '1' });
kill_worker($node, 'publisher', 'STOP');
feed('d', 3);
wait_until('the batch to be there', sub { rows('d') eq '1 2 3' });
$node->safe_psql('postgres', 'CHECKPOINT');
$node->stop('immediate');
$broker->delete('input_d');
wait_until('the topic to be gone', sub { return $broker->kv_kafka('', 'topics') !~ /^input_d\t/m });
$broker->create('input_d', 1, 'retention.ms=-1');
feed('d', 100 .. 120);
$node->start;
wait_for_error('d', $_, qr/Kafka has lost the position of pipeline "view_d" in topic "input_d"/) for qw(publish_error error);
is(rows('d'), '1 2 3', 'a batch waits: nothing of the new topic is read');
is(join(' ', sort split / /, ids('output_d')), '1 2', 'nor is the batch published');
check_beside('topic created again while a batch waits');

# one that is gone when a producer is opened, which writes a position in it to have no old answer
wait_until('all to be noted', sub { $node->safe_psql('postgres', q{
	SELECT count(*) FROM kafka_state.published JOIN kafka_state.pipeline p USING (pipeline) WHERE p.name = 'view_c' AND published.batch = p.batch}) eq '1' });
$broker->delete('input_c');
wait_until('the topic to be gone', sub { return $broker->kv_kafka('', 'topics') !~ /^input_c\t/m });
kill_worker($node, 'publisher', 'TERM');
wait_for_error('c', 'publish_error', qr/Kafka has lost the position of pipeline "view_c" in topic "input_c"/);
check_beside('topic gone');

done_testing();
