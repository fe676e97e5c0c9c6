# A worker is killed (-9) again and again while records flow. Postgres then restarts all its processes and empties unlogged
# buffers: they are reloaded from Kafka, so a payment after the crash finds its order from before it.

use strict;
use warnings;
use KafkaViews;
use Shop;
use Test::More;

my $broker = KafkaViews::Broker->new;
my $node = new_node('main', broker => $broker, conf => 'kafka.batch_rows = 50');

open_shop($node, $broker);
my $wait_for_feeder = feed_in_background($broker, 1, 3000);
for my $rows (1, 400, 900)
{
	wait_for_rows($node, $rows);
	kill_worker($node, 'kafka_views worker paid');
	restart_after_crash($node);
}
$wait_for_feeder->();
check_shop($node, $broker, 3000, 'after kills');
check_nothing_lost($node, 'after kills');

# nothing flows now: what the buffers need is in Kafka alone, before the positions
kill_worker($node, 'kafka_views worker totals');
restart_after_crash($node);
$broker->produce('payments', qq(x\t{"payment_id":1,"order_id":2995,"paid_at":1700002996000}));
$broker->produce('payments', qq(y\t{"payment_id":2,"order_id":2990,"paid_at":1700002999000}));
wait_for_view($node, 'paid');
is($node->safe_psql('postgres', 'SELECT count(*) FROM paid WHERE order_id IN (2990, 2995)'), '2',
	'payments after the crash find orders from before it');

done_testing();
