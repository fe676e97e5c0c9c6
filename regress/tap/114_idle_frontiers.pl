# What idle inputs let time reach is state like any other frontier: it is stored where it decides anything, be it only what is late,
# and outlives a restart. A topic that never had a record counts for nothing once it is idle, in the views over its views too; its
# first record is judged by what was reached without it. With kafka.idle_timeout off it holds time back.

use strict;
use warnings;
use KafkaViews;
use PostgreSQL::Test::Utils;
use Test::More;

my $broker = KafkaViews::Broker->shared;
my $node = new_node('main', broker => $broker, conf => 'kafka.idle_timeout = 0');

sub query { return $node->safe_psql('postgres', $_[0]) }
sub frontier { return query("SELECT extract(epoch FROM frontier - timestamptz '2024-01-01 00:00+00')::int FROM kafka.views WHERE view = '$_[0]'::regclass") }
sub late_rows { return query("SELECT late_rows FROM kafka.views WHERE view = '$_[0]'::regclass") }
sub idle_timeout { query("ALTER SYSTEM SET kafka.idle_timeout = '$_[0]'"); $node->reload; return }

# Produces a record with a time in seconds.
sub put
{
	my ($topic, $partition, $id, $second) = @_;
	$broker->produce("frontier_$topic", sprintf "partition=%d %d\t{\"id\":%d,\"at\":\"2024-01-01 00:%02d:%02d+00\"}", $partition, $id, $id, int($second / 60), $second % 60);
	return;
}

$broker->create("frontier_$_", 2, 'retention.ms=-1') for qw(clicks lefts rights);
query(<<~"SQL") for qw(clicks lefts rights);
	CREATE FOREIGN TABLE $_ (id int, at timestamptz) SERVER broker OPTIONS (topic 'frontier_$_', event_time 'at');
	SQL
query(<<~'SQL');
	CREATE MATERIALIZED VIEW counts WITH (kafka.continuous, kafka.grace = '0 s') AS
	  SELECT kafka.tumble(at, '10 s') AS during, count(*) AS n FROM clicks GROUP BY during;
	BEGIN;
	CREATE MATERIALIZED VIEW pairs WITH (kafka.continuous, kafka.grace = '0 s', kafka.pipeline = 'joined') AS
	  SELECT l.id, r.id AS other FROM lefts l LEFT JOIN rights r ON r.id = l.id AND r.at BETWEEN l.at AND l.at + interval '10 s';
	CREATE MATERIALIZED VIEW copied WITH (kafka.continuous, kafka.pipeline = 'joined') AS SELECT id, at FROM rights;
	CREATE MATERIALIZED VIEW mixed WITH (kafka.continuous, kafka.grace = '0 s', kafka.pipeline = 'joined') AS
	  SELECT l.id, c.id AS other FROM lefts l LEFT JOIN copied c ON c.id = l.id AND c.at BETWEEN l.at AND l.at + interval '10 s';
	COMMIT;
	SQL

put('clicks', 1, 1, 5);
wait_for_view($node, 'counts');
put('clicks', 0, 1, 31);
wait_for_view($node, 'counts');
is(frontier('counts'), 5, 'a partition that is behind holds time back');
idle_timeout('300ms');
wait_until('the frontier to move', sub { frontier('counts') == 31 });
pass('and not any more when it is idle: the last one that was not decides');
idle_timeout('1h');
$node->restart;
put('clicks', 1, 1, 6);
wait_for_view($node, 'counts');
is(late_rows('counts'), 1, 'a record behind it is late, though its partition has come back to life');
is(query("SELECT string_agg(n::text, ' ' ORDER BY during) FROM counts"), '1 1', 'and in no window');

idle_timeout('0');
put('lefts', 0, 1, 1);
put('lefts', 0, 2, 60);
wait_for_view($node, 'pairs');
is(query('SELECT count(*) FROM pairs'), 0, 'a topic that never had a record may have one yet');
idle_timeout('300ms');
wait_until("rows without a match in $_", sub { query("SELECT string_agg(id::text, ' ') FROM $_ WHERE other IS NULL") eq '1' }) for qw(pairs mixed);
pass('and counts for nothing when it is idle');
idle_timeout('1h');
put('rights', 0, 1, 5);
put('rights', 0, 2, 65);
wait_for_view($node, $_) for qw(pairs mixed);
is(late_rows($_), 1, "its first record is late in $_") for qw(pairs mixed);
is(query("SELECT string_agg(id || ':' || coalesce(other, 0), ' ' ORDER BY id) FROM $_"), '1:0 2:2', "the next one joins in $_") for qw(pairs mixed);
done_testing();
