# Rows that are late are judged the same when a promoted standby applies them again, in batches that end elsewhere: by the stream time of their own partition.
# So windows that had closed get the counts that were published, and a join with late rows makes the pairs that were. A record that was from the future when it
# was read (kafka.max_ahead) is a dead letter again, though by the clock it is none any more: or it would make those behind it late.

use strict;
use warnings;
use KafkaViews;
use PostgreSQL::Test::Utils;
use Test::More;

my $broker = KafkaViews::Broker->new;
my $node = new_node('primary', broker => $broker, conf => "kafka.instance = 'late'\nkafka.batch_rows = 7\nkafka.max_ahead = '1min'", init => [ allows_streaming => 1 ]);
my $begin_ms = 1_700_000_000_000;

sub sql { my ($where, $query) = @_; return $where->safe_psql('postgres', $query) }

# Second i comes in record i, but every 7th record is 40 s old, and the partition has been there.
sub feed
{
	my ($from, $to) = @_;

	for my $topic (qw(visits orders))
	{
		$broker->produce($topic, map { sprintf qq(partition=%d %d\t{"id":%d,"at":%d}), $_ % 2, $_, $_, $begin_ms + 1000 * ($_ % 7 ? $_ : $_ - 40) } $from .. $to);
	}
	return;
}

$broker->create($_, 2, 'retention.ms=-1') for qw(visits orders counts pairs);
sql($node, q{
	CREATE FOREIGN TABLE visits (id int, at timestamptz) SERVER broker OPTIONS (topic 'visits', event_time 'at');
	CREATE FOREIGN TABLE orders (id int, at timestamptz) SERVER broker OPTIONS (topic 'orders', event_time 'at');
	CREATE FOREIGN TABLE counts_sink (second timestamptz OPTIONS (key 'true'), n bigint) SERVER broker OPTIONS (topic 'counts');
	CREATE FOREIGN TABLE pairs_sink (id int OPTIONS (key 'true'), at timestamptz) SERVER broker OPTIONS (topic 'pairs');
	BEGIN;
	CREATE MATERIALIZED VIEW counts WITH (kafka.continuous, kafka.emit = 'final', kafka.grace = '3 s') AS
	  SELECT date_bin('10 s', at, '2000-01-01') AS second, count(*) AS n FROM visits GROUP BY 1;
	SELECT kafka.attach_sink('counts', 'counts_sink');
	CREATE MATERIALIZED VIEW pairs WITH (kafka.continuous, kafka.grace = '3 s') AS
	  SELECT v.id, v.at FROM visits v JOIN orders o ON o.id = v.id AND o.at BETWEEN v.at - interval '10 s' AND v.at + interval '10 s';
	SELECT kafka.attach_sink('pairs', 'pairs_sink');
	COMMIT;
});
feed(1, 100);
wait_for_view($node, $_) for qw(counts pairs);
$node->backup('base');
my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($node, 'base', has_streaming => 1);
$standby->append_conf('postgresql.conf', 'kafka.batch_rows = 1000');
$standby->start;
$node->wait_for_catchup($standby);
$standby->stop;
feed(101, 200);
my $ahead = time + 60 + 20;
$broker->produce('visits', sprintf qq(partition=0 ts=%d 0\t{"id":0,"at":%d}), 1000 * $ahead, $begin_ms + 10_000_000);
feed(201, 400);
wait_for_view($node, $_) for qw(counts pairs);
my $of_future = q{SELECT DISTINCT "offset", message FROM kafka.dead_letters WHERE topic = 'visits' AND partition = 0};
my $letters = sql($node, $of_future);
like($letters, qr/^\d+\|record from the future$/, 'a record is from the future');
my $late = sql($node, 'SELECT relation, late_rows FROM kafka_state.view ORDER BY 1');
unlike($late, qr/\|0/, 'rows are late');
$node->stop('immediate');

# What stands in the views is what is in the sinks, once.
sub check
{
	my ($what) = @_;

	wait_for_view($standby, $_) for qw(counts pairs);
	for my $view (qw(counts pairs))
	{
		is(sql($standby, "SELECT * FROM ${view}_sink ORDER BY 1"), sql($standby, "SELECT * FROM $view ORDER BY 1"), "$what: the sink of $view has what the view has");
	}
	return;
}

wait_until('the time from which it is not', sub { time > $ahead - 60 });
$standby->start;
$standby->promote;
check('applied again');
is(sql($standby, $of_future), $letters, 'the same record is a dead letter');
is(sql($standby, 'SELECT relation, late_rows FROM kafka_state.view ORDER BY 1'), $late, 'the same rows are late');
feed(401, 500);
check('going on');

done_testing();
