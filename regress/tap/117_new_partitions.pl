# Topics get more partitions while a pipeline reads them, and sinks while it publishes to them; the same while the server is down, and
# just before a crash. Records in the new partitions count from their first, and the views wait for them when they are asked to.

use strict;
use warnings;
use KafkaViews;
use Shop;
use Test::More;

my $broker = KafkaViews::Broker->new;
my $node = new_node('main', broker => $broker, conf => 'kafka.batch_rows = 50');

open_shop($node, $broker);
feed_shop($broker, 1, 300);
check_shop($node, $broker, 300, 'with two partitions');

$broker->add_partitions($_, 4) for qw(orders payments emails);
feed_shop($broker, 301, 600);
check_shop($node, $broker, 600, 'with four');
is($node->safe_psql('postgres', q{SELECT count(DISTINCT partition) FROM kafka.lag WHERE topic = 'orders'::regclass}), 4, 'kafka.lag shows the new ones');
is($node->safe_psql('postgres', 'SELECT min(start_offset), count(*) FROM kafka_state.position WHERE relation = \'orders\'::regclass'), '0|8', 'they are read from their start');

$node->stop('fast');
$broker->add_partitions($_, 5) for qw(orders payments);
feed_shop($broker, 601, 900);
$node->start;
check_shop($node, $broker, 900, 'added while the server was down');

$broker->add_partitions($_, 6) for qw(orders payments);
my $end = feed_in_background($broker, 901, 1200);
kill_worker($node, 'kafka_views worker paid');
restart_after_crash($node);
$end->();
check_shop($node, $broker, 1200, 'added before a crash');

# one whose first records have been deleted before the pipeline saw it
$node->safe_psql('postgres', q{SELECT kafka.pause('paid')});
$broker->add_partitions('payments', 7);
$broker->produce('payments', map { 'partition=6 ' . qq(k$_\t{"order_id":$_}) } 1 .. 3);
$broker->trim('payments');
$node->safe_psql('postgres', q{SELECT kafka.resume('paid')});
wait_until('the pipeline to say that records are missing', sub {
	return $node->safe_psql('postgres', q{SELECT error FROM kafka.pipelines WHERE pipeline = 'paid'}) =~
	  /^records of topic "payments" partition 6 were deleted before pipeline "paid" read them$/ });
pass('a new partition without its first records is not passed over');

done_testing();
