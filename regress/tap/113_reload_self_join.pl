# A topic that stands twice in a view has a buffer for each place, and lateness is a matter of the place: a record that only the
# frontier makes late as the later side of a pair may be in time as the earlier side. After a crash it is back in that buffer alone.

use strict;
use warnings;
use KafkaViews;
use PostgreSQL::Test::Utils;
use Test::More;

my $broker = KafkaViews::Broker->new;
my $node = new_node('main', broker => $broker);
my $begin_ms = 1_700_000_000_000;
my $minute_ms = 60_000;

$broker->create('steps', 2, 'retention.ms=-1');
$node->safe_psql('postgres', <<~'SQL');
	CREATE FOREIGN TABLE steps (id text, name text, at timestamptz) SERVER broker OPTIONS (topic 'steps', event_time 'at');
	CREATE MATERIALIZED VIEW pairs WITH (kafka.continuous, kafka.grace = '0 s') AS
	  SELECT a.name AS first, b.name AS second FROM steps a
	  JOIN steps b ON b.id = a.id AND b.at BETWEEN a.at AND a.at + interval '60 min' AND b.name > a.name;
	SQL

sub step
{
	my ($partition, $name, $minute) = @_;
	my $at = $begin_ms + $minute * $minute_ms;

	$broker->produce('steps', sprintf "partition=%d ts=%d k\t{\"id\":\"x\",\"name\":\"%s\",\"at\":%d}", $partition, $at, $name, $at);
	wait_for_view($node, 'pairs');
}

sub pairs { return $node->safe_psql('postgres', q{SELECT string_agg(first || second, ' ' ORDER BY first, second) FROM pairs}) }

step(0, 'a', 100);       # the frontier is there, because partition 1 never had a record
step(1, 'b', 70);        # too late for pairs that it ends, not for those it begins
step(0, 'c', 101);
is(pairs(), 'ac bc', 'it begins pairs');
is($node->safe_psql('postgres', 'SELECT late_rows FROM kafka_state.view'), 1, 'it is late once');
is($node->safe_psql('postgres', 'SELECT count(*) FROM kafka_state.skipped WHERE record_offset = 0 AND partition = 1'), 1, 'and that is noted');

kill_worker($node, 'kafka_views worker pairs');
restart_after_crash($node);
step(0, 'd', 102);
is(pairs(), 'ac ad bc bd cd', 'after the crash it still does');
is($node->safe_psql('postgres', <<~'SQL'), 'b|f', 'and it is in that buffer only');
	SELECT string_agg(DISTINCT name, ' ') FILTER (WHERE buffer = 0), bool_or(buffer = 1)
	  FROM (SELECT 0, name FROM kafka_state.buffer_1_0 UNION ALL SELECT 1, name FROM kafka_state.buffer_1_1) AS b (buffer, name) WHERE name = 'b'
	SQL

done_testing();
