# The broker is stopped, and killed (-9), while a pipeline reads and publishes. kafka.pipelines says what is the matter, and work
# goes on by itself when the broker is back, whether Postgres was restarted meanwhile or not.

use strict;
use warnings;
use KafkaViews;
use Shop;
use Test::More;

my $broker = KafkaViews::Broker->new;
my $node = new_node('main', broker => $broker, conf => 'kafka.batch_rows = 50');

open_shop($node, $broker);
feed_shop($broker, 1, 1500);
$broker->kill;
wait_until('kafka.pipelines to tell of it',
	sub { return $node->safe_psql('postgres', 'SELECT count(*) FROM kafka.pipelines WHERE error IS NOT NULL') > 0 });
pass('kafka.pipelines shows an error while the broker is away');
$broker->start;
feed_shop($broker, 1501, 3000);
check_shop($node, $broker, 3000, 'after a kill');
wait_until('kafka.pipelines to forget it',
	sub { return $node->safe_psql('postgres', 'SELECT count(*) FROM kafka.pipelines WHERE error IS NOT NULL') == 0 });

$broker->stop;
$node->restart('fast');
wait_until('a start without a broker to fail',
	sub { return $node->safe_psql('postgres', "SELECT count(*) FROM kafka.pipelines WHERE error LIKE '%could not%'") > 0 });
$broker->start;
feed_shop($broker, 3001, 3500);
check_shop($node, $broker, 3500, 'after a stop');

done_testing();
