# A view that reads a topic, and a view over that topic: a record that only the view below could not bear is in its buffer all the same. It
# stays there when the dead letter of the view below is tried again, and what that gives cannot be borne: through a crash too.

use strict;
use warnings;
use KafkaViews;
use PostgreSQL::Test::Utils;
use Test::More;

my $broker = KafkaViews::Broker->new;
my $node = new_node('main', broker => $broker);

sub query { return $node->safe_psql('postgres', $_[0]) }
sub record { my ($id, $at) = @_; return qq(k\t{"id":$id,"k":1,"at":"2026-01-01T00:00:${at}Z"}) }

sub crash
{
	kill_worker($node, 'kafka_views worker p');
	restart_after_crash($node);
	wait_until('the reload to be over', sub { my ($status, $phase) = ask($node, 'postgres', 'SELECT phase FROM kafka.pipelines'); return ($phase // '') eq 'live' });
}

sub retry { my ($relation) = @_; query("SELECT kafka.retry_dead_letters('$relation')"); wait_for_view($node, 'b'); return }

$broker->create('t', 1, 'retention.ms=-1');
query(<<~'SQL');
	CREATE FUNCTION fa(n int) RETURNS int IMMUTABLE LANGUAGE plpgsql AS $$ BEGIN RETURN n / (n - 2) * 0 + n; END $$;
	CREATE FUNCTION fb(n int) RETURNS int IMMUTABLE LANGUAGE plpgsql AS $$ BEGIN IF n = 2 THEN RAISE 'not 2' USING ERRCODE = '22000'; END IF; RETURN n; END $$;
	CREATE FOREIGN TABLE t (id int, k int, at timestamptz) SERVER broker OPTIONS (topic 't', event_time 'at');
	BEGIN;
	CREATE MATERIALIZED VIEW a WITH (kafka.continuous, kafka.pipeline = 'p') AS SELECT fa(id) AS id, k, at FROM t;
	CREATE MATERIALIZED VIEW b WITH (kafka.continuous, kafka.pipeline = 'p') AS
	  SELECT t.id AS t, fb(a.id) AS a FROM t JOIN a ON a.k = t.k AND a.at BETWEEN t.at - interval '1 day' AND t.at + interval '1 day';
	COMMIT;
	SQL
$broker->produce('t', record(1, '01'), record(2, '02'));
wait_for_view($node, 'b');
is(query('SELECT string_agg(t || $$-$$ || a, $$ $$ ORDER BY t, a) FROM b'), '1-1 2-1', 'pairs without what the view below could not bear');
query('CREATE OR REPLACE FUNCTION fa(n int) RETURNS int IMMUTABLE LANGUAGE plpgsql AS $$ BEGIN RETURN n; END $$');
retry('a');
diag(query('SELECT string_agg(view || $$ $$ || message || $$ $$ || attempts, $$, $$) FROM kafka.dead_letters'));
diag(query('SELECT string_agg(s::text, $$, $$) FROM kafka_state.skipped s'));
crash();
$broker->produce('t', record(3, '03'));
wait_for_view($node, 'b');
is(query('SELECT string_agg(t || $$-$$ || a, $$ $$ ORDER BY t, a) FROM b'), '1-1 1-3 2-1 2-3 3-1 3-3', 'it is still in the buffer');
query('CREATE OR REPLACE FUNCTION fb(n int) RETURNS int IMMUTABLE LANGUAGE plpgsql AS $$ BEGIN RETURN n; END $$');
retry('b');
crash();
$broker->produce('t', record(4, '04'));
wait_for_view($node, 'b');
is(query('SELECT string_agg(t || $$-$$ || a, $$ $$ ORDER BY t, a) FROM b'), join(' ', map { my $t = $_; map { "$t-$_" } 1 .. 4 } 1 .. 4), 'each pair once');
is(query("SELECT count(*) FROM kafka.verify('b')"), 0, 'and the view equals its query');
done_testing();
