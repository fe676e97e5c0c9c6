# A topic is deleted and made again while a batch is out that Postgres has not noted, so Kafka has lost the position in it, and the pipeline stands still.
# kafka.resume() says what holds just when the publisher has read what Postgres has noted, and not compared the positions yet: that attempt
# stops as those before it, and the next one takes the resume as a whole, so that Kafka gets the position back. Then the broker stands still while
# the publisher asks what Kafka has: it says so.

use strict;
use warnings;
use KafkaViews;
use PostgreSQL::Test::Utils;
use Test::More;

my $broker = KafkaViews::Broker->new;
my $node = new_node('main', broker => $broker, install_path => fault_build());

sub sql { return $node->safe_psql('postgres', $_[0]) }
sub feed { my ($topic, @ids) = @_; $broker->produce($topic, map { '\N' . qq(\t{"id":$_}) } @ids); return }
sub ids { return join ' ', sort { $a <=> $b } map { /(\d+)/ } $broker->consume('output', format => '%v') }
sub error { return sql('SELECT publish_error FROM kafka.pipelines') }

# Does the pipeline's group have a position in the topic that was deleted?
sub has_position { return scalar grep { $_->[0] eq 'lost' } $broker->group($_[0]) }

$broker->create($_, 1, 'retention.ms=-1') for qw(lost kept output);
sql(q{
	CREATE FOREIGN TABLE lost (id int) SERVER broker OPTIONS (topic 'lost');
	CREATE FOREIGN TABLE kept (id int) SERVER broker OPTIONS (topic 'kept');
	CREATE FOREIGN TABLE output (id int) SERVER broker OPTIONS (topic 'output');
	BEGIN;
	CREATE MATERIALIZED VIEW passed WITH (kafka.continuous) AS SELECT id FROM lost UNION ALL SELECT id FROM kept;
	SELECT kafka.attach_sink('passed', 'output');
	COMMIT;
});
feed('lost', 1);
feed('kept', 2);
wait_for_view($node, 'passed');
my $group = sql(q{SELECT i.kafka_instance || '.' || i.kafka_database || '.' || p.pipeline || '.' || p.token FROM kafka_state.identity i, kafka_state.pipeline p});
ok(has_position($group), 'Kafka has the position');
$node->stop;
$broker->delete('lost');
wait_until('the topic to be gone', sub { return $broker->kv_kafka('', 'topics') !~ /^lost\t/m });
$broker->create('lost', 1, 'retention.ms=-1');
feed('lost', 1);
$node->start;
wait_until('the output to stop', sub { error() =~ /^Kafka has lost the position of pipeline "passed" in topic "lost"$/ });
ok(!has_position($group), 'Kafka has lost the position');
my ($statement) = sql('SELECT publish_error_hint FROM kafka.pipelines') =~ /was deleted: (SELECT .*\))\.$/;

# what the worker does then would bring the position back
kill_worker($node, 'kafka_views worker', 'STOP');
arm_fault($node, 'recover_note_read');
wait_for_fault($node);
sql($statement);
release_fault($node);
wait_until('the output to go on', sub { return error() eq '' && sql(q{SELECT count(*) FROM kafka_state.processes() WHERE kind = 'output' AND phase = 'live'}) eq '1' });
ok(has_position($group), 'resumed as a whole: Kafka has the position again');

kill_worker($node, 'kafka_views worker', 'CONT');
feed('kept', 3);
wait_for_view($node, 'passed');
is(ids(), '1 2 3', 'every change is in the sink once');

arm_fault($node, 'recover_fenced');
kill_worker($node, 'publisher', 'TERM');
wait_for_fault($node);
$broker->freeze;
release_fault($node);
is(wait_until('a status', sub { return error() }), 'publishing waits for server "broker" to tell what has been published', 'a broker that stands still is named');
$broker->thaw;
# one that stood still has no topics for a moment when it is missed
wait_until('the broker to take a record', sub { return eval { feed('kept', 4); 1 } });
wait_until('the output to go on', sub { return eval { ids() eq '1 2 3 4' } });
done_testing();
