# The postmaster is killed (-9) while records flow, and starts again on the same data: commits of the last moments are gone,
# but nothing of them was published, and what was published is never published again.

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
	kill_unwritten($node, sub { wait_for_sink($broker, 'emails', $messages) });
	restart_after_crash($node);
}
$wait_for_feeder->();
check_shop($node, $broker, 3000, 'after kills');
check_nothing_lost($node, 'after kills');

done_testing();
