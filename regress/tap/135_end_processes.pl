# Each process of the engine is ended by a signal, as an administrator does with pg_terminate_backend: another one takes its place, and
# what depends on it goes on. The launcher is the one that nobody but the postmaster starts.

use strict;
use warnings;
use KafkaViews;
use Test::More;

my $broker = KafkaViews::Broker->shared;
my $node = new_node('main', broker => $broker);
my $produced = 0;

$broker->create($_, 1) for qw(ended_input ended_output);
$node->safe_psql('postgres', q{
	CREATE FOREIGN TABLE input (id int) SERVER broker OPTIONS (topic 'ended_input');
	BEGIN;
	CREATE MATERIALIZED VIEW passed WITH (kafka.continuous) AS SELECT id FROM input;
	SELECT kafka.create_sink('passed', 'ended_output');
	COMMIT;
});

for my $kind (qw(launcher supervisor publisher worker))
{
	my $pid = kill_worker($node, "kafka_views $kind", 'TERM');

	isnt(worker_pid($node, "kafka_views $kind", not => $pid), $pid, "another $kind takes the place of one that was ended");
	# the launcher is needed only now
	kill_worker($node, 'kafka_views supervisor', 'TERM') if $kind eq 'launcher';
	$broker->produce('ended_input', '\N' . "\t" . sprintf '{"id":%d}', ++$produced);
	wait_for_view($node, 'passed');
	is($node->safe_psql('postgres', 'SELECT count(*) FROM passed'), $produced, "after the $kind was ended records are applied");
}
is(scalar(my @messages = wait_for_sink($broker, 'ended_output', $produced)), $produced, 'and published, once');

done_testing();
