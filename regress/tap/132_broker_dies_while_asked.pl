# The broker dies while it is asked what it has of a group, and comes back: the question goes on. librdkafka (2.0.2) ends the process when
# a coordinator comes back for whose answer nobody waits any more, and with it all others of the cluster; no process ends here.

use strict;
use warnings;
use KafkaViews;
use Test::More;

my $broker = KafkaViews::Broker->new;
my $node = new_node('main', broker => $broker, conf => "kafka.commit_interval = '100ms'\nkafka.idle_commit_interval = '100ms'");

$broker->create($_, 1, 'retention.ms=-1') for qw(input output);
$node->safe_psql('postgres', <<~'SQL');
	CREATE FOREIGN TABLE input (id int) SERVER broker OPTIONS (topic 'input');
	CREATE FOREIGN TABLE output (id int) SERVER broker OPTIONS (topic 'output');
	BEGIN;
	CREATE MATERIALIZED VIEW v WITH (kafka.continuous) AS SELECT id FROM input;
	SELECT kafka.attach_sink('v', 'output');
	COMMIT;
	SQL
for my $round (1, 2)
{
	$broker->produce('input', qq(\\N\t{"id":$round}));
	wait_for_view($node, 'v');
	my $publisher = worker_pid($node, 'publisher');

	# it asks ten times a second, by a client of its own each time: one whose threads stay is not answered
	my ($threads, $since) = ('', 0);
	$broker->freeze;
	wait_until('a question to be older than a second, which is how long its request once lived', sub {
		my $now = join ' ', glob "/proc/$publisher/task/*";
		($threads, $since) = ($now, time) if $now ne $threads;
		return time > $since + 1 });
	$broker->kill;
	$broker->start;
	$broker->produce('input', qq(\\N\t{"id":${\ ($round + 10)}}));
	wait_for_view($node, 'v');
	is(worker_pid($node, 'publisher'), $publisher, 'the publisher has not ended');
}
is(join(' ', sort { $a <=> $b } map { /(\d+)/ } $broker->consume('output', format => '%v')), '1 2 11 12', 'every message is there once');
done_testing();
