# Names that are given to something else while pipelines run: a view stays what it was made of. The usual way to exchange tables, views, functions or
# schemas is a transaction that renames two of them, and a statement that is read again after it would find the new one under the old name.

use strict;
use warnings;
use KafkaViews;
use PostgreSQL::Test::Utils;
use Test::More;

my $broker = KafkaViews::Broker->shared;
my $node = new_node('main', broker => $broker);
my $fed = 0;

sub query { return $node->safe_psql('postgres', $_[0]) }
sub feed { $broker->produce('swapped', map { '\N' . qq(\t{"id":$_}) } $fed + 1 .. $fed + 3); $fed += 3; return }
sub caught_up { wait_for_view($node, $_) for @_; return }
sub differences { return query(sprintf 'SELECT count(*) FROM kafka.verify(%s)', $node->safe_psql('postgres', "SELECT quote_literal('$_[0]')")) }

$broker->create('swapped', 2, 'retention.ms=-1');
query(<<~'SQL');
	CREATE SCHEMA one;
	CREATE SCHEMA two;
	CREATE FOREIGN TABLE events (id int) SERVER broker OPTIONS (topic 'swapped');
	CREATE FUNCTION label(int) RETURNS text LANGUAGE plpgsql IMMUTABLE AS $$BEGIN RETURN 'old'; END$$;
	CREATE FUNCTION label_next(int) RETURNS text LANGUAGE plpgsql IMMUTABLE AS $$BEGIN RETURN 'new'; END$$;
	CREATE TABLE places (id int PRIMARY KEY, place text);
	CREATE TABLE places_next (id int PRIMARY KEY, place text);
	INSERT INTO places SELECT i, 'old' FROM generate_series(1, 100) i;
	INSERT INTO places_next SELECT i, 'new' FROM generate_series(1, 100) i;
	CREATE MATERIALIZED VIEW counts WITH (kafka.continuous) AS SELECT id % 2 AS half, count(*) AS n FROM events GROUP BY half;
	CREATE MATERIALIZED VIEW counts_next WITH (kafka.continuous) AS SELECT id % 2 AS half, count(*) AS n FROM events WHERE id % 3 = 0 GROUP BY half;
	CREATE MATERIALIZED VIEW one.sums WITH (kafka.continuous) AS SELECT id % 2 AS half, sum(id) AS n FROM events GROUP BY half;
	CREATE MATERIALIZED VIEW two.sums WITH (kafka.continuous) AS SELECT id % 2 AS half, sum(id) AS n FROM events WHERE id % 3 = 0 GROUP BY half;
	CREATE MATERIALIZED VIEW labelled WITH (kafka.continuous) AS SELECT id, label(id) AS label FROM events;
	CREATE MATERIALIZED VIEW placed WITH (kafka.continuous) AS SELECT e.id, p.place FROM events e JOIN places p USING (id);
	SQL
my @views = qw(counts counts_next one.sums two.sums labelled placed);
feed();
caught_up(@views);
is(query('TABLE labelled ORDER BY id'), "1|old\n2|old\n3|old", 'before');

query(<<~'SQL');
	BEGIN;
	ALTER MATERIALIZED VIEW counts RENAME TO counts_before;
	ALTER MATERIALIZED VIEW counts_next RENAME TO counts;
	ALTER SCHEMA one RENAME TO before;
	ALTER SCHEMA two RENAME TO one;
	ALTER FUNCTION label(int) RENAME TO label_before;
	ALTER FUNCTION label_next(int) RENAME TO label;
	ALTER TABLE places RENAME TO places_before;
	ALTER TABLE places_next RENAME TO places;
	COMMIT;
	SQL
my @now = qw(counts_before counts before.sums one.sums labelled placed);
for (1 .. 3)
{
	feed();
	caught_up(@now);
}
is(differences($_), 0, "$_ has what its query says") for qw(counts_before counts before.sums one.sums labelled);
is(query('SELECT sum(n) FROM counts_before'), $fed, 'the renamed view goes on');
is(query('SELECT sum(n) FROM counts'), int($fed / 3), 'and the one that has its name');
is(query('SELECT DISTINCT label FROM labelled'), 'old', 'the function is the one that it was made with');
is(query('SELECT DISTINCT place FROM placed'), 'old', 'the table too');

# the same in a batch that has begun
my $session = $node->background_psql('postgres', on_error_die => 1);
$session->query_safe('BEGIN; LOCK TABLE placed IN SHARE MODE');
feed();
wait_until('the worker to wait for the view', sub { return query(q(SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = 'placed'::regclass)) });
query('BEGIN; ALTER TABLE places RENAME TO places_other; ALTER TABLE places_before RENAME TO places; COMMIT');
$session->query_safe('COMMIT');
$session->quit;
caught_up(@now);
is(query('SELECT count(*) FROM placed'), $fed, 'nothing is left out');
is(query('SELECT DISTINCT place FROM placed'), 'old', 'whatever its name');
is(query(q(SELECT string_agg(error, ' ') FROM kafka.pipelines)), '', 'no pipeline has failed');
done_testing();
