# One of two topics that a pipeline reads is deleted and brought back with the same records, while a batch is out that Postgres has not noted: Kafka
# has lost the position in it. The pipeline stands still, goes on by the statement that the error names, and is not stopped again.

use strict;
use warnings;
use KafkaViews;
use PostgreSQL::Test::Utils;
use Test::More;

my $broker = KafkaViews::Broker->new;
my $node = new_node('main', broker => $broker);

sub sql { return $node->safe_psql('postgres', $_[0]) }
sub feed { my ($topic, @ids) = @_; $broker->produce($topic, map { '\N' . qq(\t{"id":$_}) } @ids); return }
sub ids { return join ' ', sort { $a <=> $b } map { /(\d+)/ } $broker->consume('output', format => '%v') }

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
wait_until('it to be noted', sub { sql('SELECT count(*) FROM kafka_state.published JOIN kafka_state.pipeline p USING (pipeline) WHERE published.batch = p.batch') eq '1' });

my $session = $node->background_psql('postgres', on_error_die => 1);
$session->query_safe('BEGIN; LOCK TABLE kafka_state.published IN SHARE MODE');
feed('kept', 3);
wait_for_sink($broker, 'output', 3);
$node->stop('immediate');
eval { $session->quit };
$broker->delete('lost');
wait_until('the topic to be gone', sub { return $broker->kv_kafka('', 'topics') !~ /^lost\t/m });
$broker->create('lost', 1, 'retention.ms=-1');
feed('lost', 1);
$node->start;

wait_until('the pipeline to stop', sub { sql('SELECT error FROM kafka.pipelines') =~ /^Kafka has lost the position of pipeline "passed" in topic "lost"$/ });
my ($statement) = sql('SELECT error_hint FROM kafka.pipelines') =~ /was deleted: (SELECT .*\))\.$/;
# the publisher comes first: what it notes must not be what the worker misses
my $worker = kill_worker($node, 'kafka_views worker', 'STOP');
sql($statement);
wait_until('it to be noted', sub { sql('SELECT NOT decided FROM kafka_state.published') eq 't' });
kill 'CONT', $worker;
feed('lost', 4);
feed('kept', 5);
wait_for_view($node, 'passed');
is(sql('SELECT count(*) FROM kafka.pipelines WHERE coalesce(error, publish_error) IS NOT NULL'), 0, 'the hint followed: it is not stopped again');
is(ids(), '1 2 3 4 5', 'every change is in the sink once');
is(sql(q{SELECT string_agg(id::text, ' ' ORDER BY id) FROM passed}), '1 2 3 4 5', 'and in the view');

done_testing();
