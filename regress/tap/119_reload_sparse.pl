# A topic that keeps records for a week has deleted the first ones of a partition, and the rest are so few that no mark came by their
# number. After a crash the buffers are whole all the same: a reload begins where the last mark by time is, and nothing is asked of a
# partition that has been silent for longer than buffers keep rows.

use strict;
use warnings;
use KafkaViews;
use PostgreSQL::Test::Utils;
use Test::More;

my $broker = KafkaViews::Broker->new;
my $node = new_node('main', broker => $broker, conf => 'kafka.idle_timeout = 1s');
my $now_ms = time() * 1000;
my $hour_ms = 3_600_000;

$broker->create($_, 2, 'retention.ms=-1') for qw(orders payments);
$node->safe_psql('postgres', <<~'SQL');
	CREATE FOREIGN TABLE orders (id bigint, at timestamptz) SERVER broker OPTIONS (topic 'orders', event_time 'at');
	CREATE FOREIGN TABLE payments (id bigint, at timestamptz) SERVER broker OPTIONS (topic 'payments', event_time 'at');
	CREATE MATERIALIZED VIEW paid WITH (kafka.continuous, kafka.grace = '1 s') AS
	  SELECT o.id, p.at FROM orders o JOIN payments p ON p.id = o.id AND p.at BETWEEN o.at AND o.at + interval '1 hour';
	SQL

sub produce
{
	my ($topic, $partition, $id, $hours) = @_;
	my $ms = $now_ms + int($hours * $hour_ms);

	$broker->produce($topic, "partition=$partition ts=$ms k\t{\"id\":$id,\"at\":$ms}");
	wait_for_view($node, 'paid');
}

sub paid { return $node->safe_psql('postgres', q{SELECT string_agg(id::text, ' ' ORDER BY id) FROM paid}) }

for my $topic (qw(orders payments)) { produce($topic, $_, 100 + $_, -50) for 0, 1; }
is(paid(), '100 101', 'old records are there');
for my $topic (qw(orders payments)) { produce($topic, 0, 102, -9); }
$node->safe_psql('postgres', 'CHECKPOINT');
$broker->trim($_) for qw(orders payments);
for my $topic (qw(orders payments)) { produce($topic, 0, 103, -5); }
produce('orders', 0, 1, 0);
wait_until('time to go on without the idle partitions', sub {
	return $node->safe_psql('postgres', "SELECT frontier >= extract(epoch FROM timestamptz '1970-01-01 00:00+00' + interval '1 ms' * ($now_ms - 5 * $hour_ms) - timestamptz '2000-01-01 00:00+00') * 1000000 FROM kafka_state.view") eq 't';
});
$node->safe_psql('postgres', 'CHECKPOINT');

kill_worker($node, 'kafka_views worker paid');
restart_after_crash($node);
produce('payments', 0, 1, 0.5);
is(paid(), '1 100 101 102 103', 'the payment finds its order after the crash');
is($node->safe_psql('postgres', 'SELECT count(*) FROM kafka.pipelines WHERE error IS NOT NULL'), 0, 'and nothing is wrong');

done_testing();
