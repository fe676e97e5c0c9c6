# The publisher is killed (-9) while it publishes: its open Kafka transaction is aborted by its successor, which goes on after
# the last batch that Kafka has.

use strict;
use warnings;
use KafkaViews;
use Shop;
use Test::More;

my $broker = KafkaViews::Broker->new;
my $node = new_node('main', broker => $broker, conf => 'kafka.batch_rows = 50');

open_shop($node, $broker);
my $wait_for_feeder = feed_in_background($broker, 1, 3000);
for my $messages (1, 500, 1000)
{
	wait_for_sink($broker, 'emails', $messages);
	kill_worker($node, 'publisher');
	restart_after_crash($node);
}
$wait_for_feeder->();
check_shop($node, $broker, 3000, 'after kills');
check_nothing_lost($node, 'after kills');

done_testing();
