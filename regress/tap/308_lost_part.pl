# A batch went out in part when the server was lost, and the backup that replaces it is from before the batch: which part is out cannot be told. The
# pipeline stops and says so; the statement that the hint names lets it go on, with numbers that were not given before.

use strict;
use warnings;
use KafkaViews;
use PostgreSQL::Test::Utils;
use Test::More;

my $broker = KafkaViews::Broker->new;
my $node = new_node('lost', broker => $broker, install_path => fault_build(), conf => "kafka.instance = 'part'\nkafka.transaction_size = 64kB", init => [ allows_streaming => 1 ]);
my $rows = 5000;

$broker->create($_, 2, 'retention.ms=-1') for qw(input output);
$broker->produce('input', map { '\N' . qq(\t{"id":$_}) } 1 .. $rows);
$node->safe_psql('postgres', q{
	CREATE FOREIGN TABLE input (id int) SERVER broker OPTIONS (topic 'input');
	CREATE FOREIGN TABLE output (id int OPTIONS (key 'true')) SERVER broker OPTIONS (topic 'output');
	CREATE MATERIALIZED VIEW passed WITH (kafka.continuous) AS SELECT id FROM input;
});
wait_for_view($node, 'passed');
wait_until('the positions to be noted too, behind which no batch without messages comes any more', sub { return $node->safe_psql('postgres', q{
	SELECT (SELECT sum(next_offset) FROM kafka_state.position) = (SELECT sum((o->>'offset')::bigint) FROM kafka_state.outbox_batch b, jsonb_array_elements(b.positions) o
	WHERE b.batch = (SELECT batch FROM kafka_state.pipeline)) AND (SELECT batch FROM kafka_state.published) = (SELECT batch FROM kafka_state.pipeline)}) eq 't' });
$node->backup('base');

# the first part is out and not noted
arm_fault($node, 'note_before');
$node->safe_psql('postgres', q{SELECT kafka.attach_sink('passed', 'output')});
wait_for_fault($node);
$node->stop('immediate');
my $out = $broker->consume('output');
cmp_ok($out, '>', 0, 'a part is out');
cmp_ok($out, '<', $rows, 'and no more than a part');

my $restored = PostgreSQL::Test::Cluster->new('restored');
$restored->init_from_backup($node, 'base');
$restored->start;
wait_until('it to stop', sub { return $restored->safe_psql('postgres', 'SELECT publish_error FROM kafka.pipelines') =~ /has published a part of a batch that this database has lost/ });
my ($statement) = $restored->safe_psql('postgres', 'SELECT publish_error_hint FROM kafka.pipelines') =~ /(SELECT kafka\.resume\(.*?\d+\))/;
$broker->produce('input', '\N' . qq(\t{"id":${\ ($rows + 1)}}));
is($restored->safe_psql('postgres', 'SET kafka.allow_incomplete_reads = on; SELECT count(*) FROM passed'), $rows, 'the pipeline stands still');
$restored->safe_psql('postgres', $statement);
wait_for_view($restored, 'passed');
$restored->safe_psql('postgres', q{SELECT kafka.attach_sink('passed', 'output')});
$broker->produce('input', '\N' . qq(\t{"id":${\ ($rows + 2)}}));
wait_for_view($restored, 'passed');
is($restored->safe_psql('postgres', q{SELECT * FROM kafka.verify('passed')}), '', 'the hint followed: the view equals its query');
is($restored->safe_psql('postgres', 'SELECT count(*) FROM kafka_state.redo'), 0, 'nothing is left to be done again');
my %times;
$times{$_}++ for $broker->consume('output', format => '%k');
is(scalar(keys %times), $rows + 2, 'every row is in the sink');
is(scalar(grep { $times{$_} == 2 } keys %times), $out, 'that part twice');
is(scalar(grep { $times{$_} > 2 } keys %times), 0, 'and no other');

done_testing();
