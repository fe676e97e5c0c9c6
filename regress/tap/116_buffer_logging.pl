# A buffer is logged where its topic could not give the records again after a crash, and unlogged elsewhere; it becomes logged when the
# configuration of the topic changes. The logged one needs nothing of its topic after a crash: here that has lost its records by then.

use strict;
use warnings;
use KafkaViews;
use PostgreSQL::Test::Utils;
use Test::More;

my $broker = KafkaViews::Broker->new;
my $node = new_node('main', broker => $broker);
my $now_ms = time() * 1000;
my $day_ms = 86_400_000;

$broker->create('orders', 1, 'retention.ms=-1');
$broker->create('payments', 1, "retention.ms=$day_ms");
$node->safe_psql('postgres', <<~'SQL');
	CREATE FOREIGN TABLE orders (id bigint, at timestamptz) SERVER broker OPTIONS (topic 'orders', event_time 'at');
	CREATE FOREIGN TABLE payments (id bigint, at timestamptz) SERVER broker OPTIONS (topic 'payments', event_time 'at');
	CREATE MATERIALIZED VIEW paid WITH (kafka.continuous) AS
	  SELECT o.id, p.at FROM orders o JOIN payments p ON p.id = o.id AND p.at BETWEEN o.at - interval '1 hour' AND o.at + interval '1 hour';
	SQL

# Waits until the buffers of orders and of payments are p(ermanent) or u(nlogged) as said.
sub wait_for_buffers
{
	my ($orders, $payments, $name) = @_;

	ok($node->poll_query_until('postgres', <<~"SQL"), $name);
		SELECT string_agg(relpersistence::text, '' ORDER BY relname) = '$orders$payments' FROM pg_class
		 WHERE relnamespace = 'kafka_state'::regnamespace AND relname ~ '^buffer_[0-9]+_[01]\$' AND relkind = 'r'
		SQL
	return;
}

sub produce_pair { my ($topic, $id, $ms) = @_; $broker->produce($topic, "partition=0 ts=$ms k\t{\"id\":$id,\"at\":$ms}"); return }

wait_for_buffers('u', 'p', 'a topic that keeps records for a day only is not trusted with those of an hour and ten minutes');
is($node->safe_psql('postgres', q{SELECT string_agg(title, ', ' ORDER BY title) FROM kafka.explain('paid') WHERE phase = 'buffer'}),
	'logged buffer of payments, unlogged buffer of orders', 'kafka.explain says which');
produce_pair('payments', 1, $now_ms);
produce_pair('payments', 2, $now_ms);
wait_for_view($node, 'paid');

# the records are gone from the topic, but nothing behind the position, which a checkpoint makes durable
$node->safe_psql('postgres', 'CHECKPOINT');
$broker->trim('payments');
kill_worker($node, 'kafka_views worker paid');
restart_after_crash($node);
produce_pair('orders', 1, $now_ms + 1000);
wait_for_view($node, 'paid');
is($node->safe_psql('postgres', 'SELECT string_agg(id::text, \' \') FROM paid'), '1', 'a logged buffer is there after a crash');

$broker->configure('orders', 'retention.ms=-1', 'cleanup.policy=compact');
wait_for_buffers('p', 'p', 'when a topic is compacted, its buffer becomes logged');
produce_pair('payments', 3, $now_ms + 2000);
wait_for_view($node, 'paid');
kill_worker($node, 'kafka_views worker paid');
restart_after_crash($node);
produce_pair('orders', 3, $now_ms + 3000);
produce_pair('payments', 1, $now_ms + 3000);
wait_for_view($node, 'paid');
is($node->safe_psql('postgres', 'SELECT string_agg(id::text, \' \' ORDER BY id) FROM paid'), '1 1 3', 'it is there after a crash too');

done_testing();
