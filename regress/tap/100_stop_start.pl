# Postgres is stopped and started, and a worker and a publisher are asked to end (SIGTERM), while records flow: the supervisor
# starts them again, nothing is lost, nothing comes twice.

use strict;
use warnings;
use KafkaViews;
use Shop;
use Test::More;

my $broker = KafkaViews::Broker->new;
my $node = new_node('main', broker => $broker, conf => 'kafka.batch_rows = 50');

open_shop($node, $broker);
my $wait_for_feeder = feed_in_background($broker, 1, 4000);

wait_for_rows($node, 1);
$node->restart('fast');
wait_for_rows($node, 500);
my $worker = kill_worker($node, 'kafka_views worker paid', 'TERM');
isnt(worker_pid($node, 'kafka_views worker paid', not => $worker), $worker, 'another worker has started');
my $publisher = kill_worker($node, 'publisher', 'TERM');
isnt(worker_pid($node, 'publisher', not => $publisher), $publisher, 'another publisher has started');
$node->restart('immediate');
$wait_for_feeder->();
check_shop($node, $broker, 4000, 'after stops');

done_testing();
