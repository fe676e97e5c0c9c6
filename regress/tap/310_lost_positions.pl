# A server is brought back from a backup that is older than partitions its predecessor had read and published, and than all that the predecessor knew
# of another topic: Postgres has no position there, Kafka has one. Up to it nothing is published again, and from it on nothing is left out.

use strict;
use warnings;
use KafkaViews;
use PostgreSQL::Test::Utils;
use Test::More;

my $broker = KafkaViews::Broker->new;
my $node = new_node('lost', broker => $broker, conf => "kafka.instance = 'positions'\nkafka.commit_interval = 100ms", init => [ allows_streaming => 1 ]);

# Produces records from .. to, in turn to the partitions.
sub feed
{
	my ($topic, $from, $to, @partitions) = @_;

	$broker->produce($topic, map { "partition=" . $partitions[ $_ % @partitions ] . " \\N\t" . qq({"id":$_}) } $from .. $to);
	return;
}

# Checks that every record has gone out, once.
sub check_sink
{
	my ($topic, $from, $to, $what) = @_;
	my %times;

	wait_for_sink($broker, $topic, $to - $from + 1);
	$times{$_}++ for $broker->consume($topic, format => '%k');
	is(join(' ', sort { $a <=> $b } keys %times), join(' ', $from .. $to), "$what: every record is in the sink");
	is(join(' ', grep { $times{$_} > 1 } keys %times), '', "$what: and once");
	return;
}

$broker->create($_, 2, 'retention.ms=-1') for qw(grown latest grown_sink latest_sink);
feed('grown', 1, 20, 0, 1);
feed('latest', 1, 20, 0, 1);
$node->safe_psql('postgres', q{
	CREATE FOREIGN TABLE grown (id int) SERVER broker OPTIONS (topic 'grown');
	CREATE FOREIGN TABLE latest (id int) SERVER broker OPTIONS (topic 'latest');
	CREATE FOREIGN TABLE grown_sink (id int OPTIONS (key 'true')) SERVER broker OPTIONS (topic 'grown_sink');
	CREATE FOREIGN TABLE latest_sink (id int OPTIONS (key 'true')) SERVER broker OPTIONS (topic 'latest_sink');
	BEGIN;
	CREATE MATERIALIZED VIEW of_grown WITH (kafka.continuous) AS SELECT id FROM grown;
	SELECT kafka.attach_sink('of_grown', 'grown_sink');
	CREATE MATERIALIZED VIEW of_latest WITH (kafka.continuous, kafka.start = 'latest') AS SELECT id FROM latest;
	SELECT kafka.attach_sink('of_latest', 'latest_sink');
	SELECT kafka.pause('of_latest');
	COMMIT;
});
wait_for_view($node, 'of_grown');
wait_for_sink($broker, 'grown_sink', 20);
is($node->safe_psql('postgres', 'SELECT count(*) FROM kafka_state.position'), 2, 'the backup has the positions of two partitions');
$node->backup('base');

$broker->add_partitions('grown', 4);
feed('grown', 21, 60, 0 .. 3);
$node->safe_psql('postgres', q{SELECT kafka.resume('of_latest')});
wait_until('all positions', sub { $node->safe_psql('postgres', 'SELECT count(*) FROM kafka_state.position') eq '6' });
feed('latest', 21, 40, 0, 1);
check_sink('grown_sink', 1, 60, 'before');
check_sink('latest_sink', 21, 40, 'before');
$node->stop('immediate');
feed('grown', 61, 80, 0 .. 3);
feed('latest', 41, 60, 0, 1);

my $restored = PostgreSQL::Test::Cluster->new('restored');
$restored->init_from_backup($node, 'base');
$restored->start;
wait_for_view($restored, 'of_grown');
check_sink('grown_sink', 1, 80, 'partitions that were lost');
is($restored->safe_psql('postgres', 'SELECT count(*), count(DISTINCT id) FROM of_grown'), '80|80', 'all their records are in the view');
is($restored->safe_psql('postgres', q{SELECT * FROM kafka.verify('of_grown')}), '', 'which equals its query');
$restored->safe_psql('postgres', q{SELECT kafka.resume('of_latest')});
wait_for_view($restored, 'of_latest');
check_sink('latest_sink', 21, 60, 'a topic that was lost');
is($restored->safe_psql('postgres', 'SELECT min(id), max(id), count(*) FROM of_latest'), '41|60|20', 'it goes on where Kafka has the predecessor');
is($restored->safe_psql('postgres', 'SELECT count(*) FROM kafka_state.redo'), 0, 'nothing is left to be done again');

done_testing();
