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

# a publisher that is asked to end while it waits for the broker gives back the places that say how its outputs fare
$broker->stop;
$node->restart('fast');
wait_until('a publisher to wait for the broker', sub {
	return $node->safe_psql('postgres', "SELECT count(*) FROM kafka_state.processes() WHERE kind = 'output' AND pid IS NULL") > 0
	  && worker_pid($node, 'publisher');
});
$node->safe_psql('postgres', 'DROP SERVER broker CASCADE');
ok($node->poll_query_until('postgres', "SELECT count(*) = 0 FROM kafka_state.processes() WHERE kind IN ('output', 'publisher', 'worker')"),
	'no place is taken by what was dropped');

done_testing();
