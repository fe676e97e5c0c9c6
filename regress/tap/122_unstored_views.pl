# Unstored views while worker, publisher and postmaster are killed (-9) and records flow: nothing of what they give is in any
# table, so only positions, buffers and outbox say what has gone out. Sinks are attached in the middle of it, with the rows that
# were given before: each must hold every paid order once, whatever batch was under way.
use strict;
use warnings;
use KafkaViews;
use Shop;
use Test::More;

my $orders = 3000;
my $paid = grep { $_ % 5 } 1 .. $orders;
my $broker = KafkaViews::Broker->new;
my $node = new_node('main', broker => $broker, conf => 'kafka.batch_rows = 50');

$broker->create($_, 2, 'retention.ms=-1') for qw(orders payments), map { "sink_$_" } 0 .. 9;
$broker->create('odd_sink', 1);
$node->safe_psql('postgres', q{
	CREATE FOREIGN TABLE orders (order_id bigint, amount numeric, created_at timestamptz) SERVER broker OPTIONS (topic 'orders', event_time 'created_at');
	CREATE FOREIGN TABLE payments (order_id bigint, paid_at timestamptz) SERVER broker OPTIONS (topic 'payments', event_time 'paid_at');
	CREATE FOREIGN TABLE odd_sink (order_id bigint OPTIONS (key 'true')) SERVER broker OPTIONS (topic 'odd_sink');
	BEGIN;
	CREATE VIEW paid WITH (kafka.continuous, kafka.event_time = 'paid_at') AS SELECT o.order_id, o.amount, p.paid_at FROM orders o
	  JOIN payments p ON p.order_id = o.order_id AND p.paid_at BETWEEN o.created_at AND o.created_at + interval '1 hour';
	CREATE VIEW odd WITH (kafka.continuous) AS SELECT order_id, paid_at FROM paid WHERE order_id % 2 = 1;
	SELECT kafka.attach_sink('odd', 'odd_sink');
	COMMIT});
attach(0);

my $sinks = 1;
my $wait_for_feeder = feed_in_background($broker, 1, $orders);
for my $what ('worker paid', 'publisher', 'postmaster', 'worker paid')
{
	# one sink while batches run, one right after the crash, when buffers are being reloaded
	wait_for_position(600 * $sinks);
	attach($sinks++);
	if ($what eq 'postmaster') { $node->kill9 } else { kill_worker($node, "kafka_views $what") }
	restart_after_crash($node);
	attach($sinks++);
}
$wait_for_feeder->();
wait_for_view($node, 'paid');
attach($sinks++);
wait_for_view($node, 'paid');

is($node->safe_psql('postgres', 'SELECT sum(late_rows) FROM kafka_state.view'), '0', 'nothing was late');
for my $i (0 .. $sinks - 1)
{
	my %times;
	$times{$_}++ for wait_for_sink($broker, "sink_$i", $paid, format => '%k');
	is(scalar(keys %times), $paid, "sink $i has every paid order");
	is(join(',', grep { $times{$_} > 1 } sort keys %times), '', "sink $i has none twice");
}
my %times;
$times{$_}++ for $broker->consume('odd_sink', format => '%k');
is_deeply([ sort { $a <=> $b } keys %times ], [ grep { $_ % 5 && $_ % 2 } 1 .. $orders ], 'the view over the view has its rows');
is(scalar(grep { $_ > 1 } values %times), 0, 'each once');
is($node->safe_psql('postgres', 'SELECT count(*) FROM paid'), $paid, 'SELECT gives them too');

done_testing();

# Attaches sink number i with the rows given so far; the connection may still be refused.
sub attach
{
	my ($i) = @_;
	return wait_until("sink $i", sub { (ask($node, 'postgres',
		qq{BEGIN;
		CREATE FOREIGN TABLE sink_$i (order_id bigint OPTIONS (key 'true'), amount numeric) SERVER broker OPTIONS (topic 'sink_$i');
		SELECT kafka.attach_sink('paid', 'sink_$i');
		COMMIT}))[0] == 0 });
}

# Waits until so many records have been applied.
sub wait_for_position
{
	my ($count) = @_;
	return wait_until("$count records", sub {
		my ($status, $records) = ask($node, 'postgres', 'SELECT coalesce(sum(next_offset), 0) FROM kafka_state.position');
		return $status == 0 && $records >= $count });
}
