# State that is kept of groups goes on exactly where it stood: transition states, values under DISTINCT, standing rows, sessions and the rows of
# open ones, through a crash in the middle of batches, a clean restart, and a dump that is restored and adopted while more records came. The topic
# has one partition, so every view equals its query with the rows in the order of the topic, whatever happened in between.
use strict;
use warnings;
use KafkaViews;
use PostgreSQL::Test::Utils;
use Test::More;

my $seed = $ENV{SEED} // int(rand(1 << 31));
srand($seed);
note("SEED=$seed");

my $broker = KafkaViews::Broker->shared;
my $node = new_node('main', broker => $broker, conf => 'kafka.batch_rows = 40');
my $dump = PostgreSQL::Test::Utils::tempdir . '/dump.sql';

# Sessions by window functions: events of a visitor no further apart than the gap, the rows in the order of the topic.
sub sessions
{
	my ($gap, $values) = @_;
	return qq{SELECT who, tstzrange(min(at), max(at), '[]') AS during, $values FROM (
		SELECT *, count(*) FILTER (WHERE begins) OVER (PARTITION BY who ORDER BY at ROWS UNBOUNDED PRECEDING) AS island FROM (
			SELECT *, (at - lag(at) OVER (PARTITION BY who ORDER BY at) > '$gap') IS NOT FALSE AS begins FROM events) e) e GROUP BY who, island};
}
# The query of each view, and one that gives the same rows in any database with the topic.
my %view = (
	states => [ 'SELECT who, round(stddev(id), 6) AS spread, regr_count(id, id) AS n, trail(kind) AS trail, bit_xor(id) AS bits FROM events GROUP BY who',
		'SELECT who, round(stddev(id), 6), regr_count(id, id), trail(kind ORDER BY id), bit_xor(id) FROM events GROUP BY who' ],
	collected => [ 'SELECT who, array_agg(id) AS ids, string_agg(kind, \'\') AS kinds, jsonb_agg(kind) FILTER (WHERE id % 3 = 0) AS some FROM events GROUP BY who',
		'SELECT who, array_agg(id ORDER BY id), string_agg(kind, \'\' ORDER BY id), jsonb_agg(kind ORDER BY id) FILTER (WHERE id % 3 = 0) FROM events GROUP BY who' ],
	different => [ 'SELECT who, count(DISTINCT kind) AS kinds, sum(DISTINCT id % 50) AS tens FROM events GROUP BY who' ],
	ends => [ 'SELECT kind, kafka.first(id, at) AS first, kafka.last(id, at) AS last FROM events GROUP BY kind',
		'SELECT kind, kafka.first(id, at ORDER BY id), kafka.last(id, at ORDER BY id) FROM events GROUP BY kind' ],
	standing => [ 'SELECT DISTINCT ON (who, kind) who, kind, id FROM events ORDER BY who, kind, at DESC',
		'SELECT DISTINCT ON (who, kind) who, kind, id FROM events ORDER BY who, kind, at DESC, id' ],
	visits => [ q{SELECT who, kafka.session(at, '10 s') AS during, count(*) AS n, avg(id) AS mean FROM events GROUP BY who, during}, sessions('10 s', 'count(*), avg(id)') ],
	paths => [ q{SELECT who, kafka.session(at, '10 s') AS during, array_agg(id) AS ids, count(DISTINCT kind) AS kinds FROM events GROUP BY who, during},
		sessions('10 s', 'array_agg(id ORDER BY id), count(DISTINCT kind)') ],
	graced => [ q{SELECT who, kafka.session(at, '10 s') AS during, array_agg(id) AS ids FROM events GROUP BY who, during}, sessions('10 s', 'array_agg(id ORDER BY id)'), q{, kafka.grace = '1 minute'} ],
	finals => [ q{SELECT who, kafka.session(at, '10 s') AS during, array_agg(id) AS ids FROM events GROUP BY who, during},
		sessions('10 s', 'array_agg(id ORDER BY id)') . q{ HAVING max(at) + interval '70 s' <= (SELECT max(at) FROM events)}, q{, kafka.emit = 'final', kafka.grace = '1 minute'} ]);
my @views = sort keys %view;

$broker->create($_, 1, 'retention.ms=-1') for qw(kept_events kept_paths kept_finals);
$node->safe_psql('postgres', 'CREATE DATABASE shop');
$node->safe_psql('shop', join "\n", 'CREATE EXTENSION kafka_views;',
	"CREATE SERVER broker FOREIGN DATA WRAPPER kafka OPTIONS (bootstrap_servers '${\ $broker->address}');", q{
	CREATE FUNCTION step(text, text) RETURNS text LANGUAGE sql IMMUTABLE AS $$SELECT right($1 || $2, 30)$$;
	CREATE AGGREGATE trail(text) (sfunc = step, stype = text, initcond = '');
	CREATE FOREIGN TABLE events (id int, who text, kind text, at timestamptz) SERVER broker OPTIONS (topic 'kept_events', event_time 'at');
	CREATE FOREIGN TABLE paths_sink (who text OPTIONS (key 'true'), during tstzrange OPTIONS (key 'true'), ids int[], kinds bigint) SERVER broker OPTIONS (topic 'kept_paths', mode 'upsert');
	CREATE FOREIGN TABLE finals_sink (who text, during tstzrange, ids int[]) SERVER broker OPTIONS (topic 'kept_finals');
	BEGIN;}, (map { "CREATE MATERIALIZED VIEW $_ WITH (kafka.continuous, kafka.pipeline = 'kept'${\ ($view{$_}[2] // '')}) AS $view{$_}[0];" } @views),
	q{SELECT kafka.attach_sink('paths', 'paths_sink'), kafka.attach_sink('finals', 'finals_sink');}, 'COMMIT;');

# Some events, up to twenty seconds out of order; of four visitors, one of them unknown.
my $id = 0;
sub send_events
{
	my ($count) = @_;

	$broker->produce('kept_events', map { sprintf '{"id":%d,"who":%s,"kind":"%s","at":%d}', ++$id, (qw("a" "b" "c" null))[ rand 4 ], chr(97 + rand 5), 1_700_000_000_000 + $id * 4000 + int(rand 40) * 1000 } 1 .. $count);
	return;
}
sub query { return $node->safe_psql('shop', $_[0]) }
sub differences
{
	my ($one, $other) = @_;
	return query("SELECT count(*) FROM ((SELECT ($one)::text FROM ($_[2]) $one EXCEPT ALL SELECT ($other)::text FROM ($_[3]) $other)
		UNION ALL (SELECT ($other)::text FROM ($_[3]) $other EXCEPT ALL SELECT ($one)::text FROM ($_[2]) $one)) d");
}
sub check
{
	my ($when) = @_;

	wait_for_view($node, $_, 'shop') for @views;
	is(differences('one', 'other', "TABLE $_", $view{$_}[1] // $view{$_}[0]), 0, "$_ equals its query $when") for @views;
	for (qw(paths finals))
	{
		my $view = $_;
		wait_until("the sink of $view to be the view $when", sub { differences('one', 'other', "TABLE $view", "TABLE ${view}_sink") == 0 });
		pass("the sink of $view is the view $when");
	}
	return;
}

send_events(300);
check('at first');
send_events(600);
my $wanted = query('SELECT sum(next_offset) FROM kafka_state.position') + 100;
wait_until('some records to be applied', sub { query('SELECT sum(next_offset) FROM kafka_state.position') >= $wanted });
$node->stop('immediate');
send_events(50);
$node->start;
check('after a crash');

$node->stop('fast');
send_events(50);
$node->start;
check('after a clean restart');
cmp_ok(query('SELECT count(*) FROM finals'), '>', 10, 'some sessions have closed');

$node->run_log([ 'pg_dump', '-f', $dump, $node->connstr('shop') ]);
$node->safe_psql('postgres', 'DROP DATABASE shop WITH (FORCE)');
send_events(100);
$node->safe_psql('postgres', 'CREATE DATABASE shop');
$node->command_ok([ 'psql', '-X', '-q', '-v', 'ON_ERROR_STOP=1', '-f', $dump, $node->connstr('shop') ], 'the dump restores without an error');
is(query('SELECT sum(next_offset) FROM kafka_state.position'), 1000, 'it stands where the dump stood');
query('SELECT kafka.adopt()');
check('after dump, restore and kafka.adopt()');
is(query('SELECT sum(late_rows) FROM kafka.views'), 0, 'no row was late');
is(query('SELECT count(*) FROM kafka_state.dead_letter'), 0, 'there are no dead letters');

$node->stop;
done_testing();
