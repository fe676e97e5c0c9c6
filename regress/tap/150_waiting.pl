# What holds one pipeline up holds no other one up, can be seen, and loses nothing: a session that locks a view, a user's trigger that takes its
# time, and a role whose statements have little time in sessions.

use strict;
use warnings;
use KafkaViews;
use Test::More;

my $broker = KafkaViews::Broker->shared;
my $node = new_node('main', broker => $broker);
my $produced = 0;

sub query { return $node->safe_psql('postgres', $_[0]) }
sub feed { my ($count) = @_; $broker->produce("waiting_in_$$", map { $produced++; qq({"id":$produced}) } 1 .. $count); return }
sub is_whole { my ($view, $what) = @_; wait_for_view($node, $view); is(query("SELECT count(*), sum(id) FROM $view"), join('|', $produced, $produced * ($produced + 1) / 2), $what); return }

$broker->create("waiting_in_$$", 2);
query(<<~"SQL");
	CREATE FOREIGN TABLE input (id int) SERVER broker OPTIONS (topic 'waiting_in_$$');
	CREATE MATERIALIZED VIEW held WITH (kafka.continuous, kafka.pipeline = 'held') AS SELECT id FROM input;
	CREATE MATERIALIZED VIEW free WITH (kafka.continuous, kafka.pipeline = 'free') AS SELECT id FROM input;
	SQL
feed(10);
is_whole($_, "at first: $_") for qw(held free);

my $session = $node->background_psql('postgres', on_error_die => 1);
$session->query_safe('BEGIN; LOCK TABLE held');
my ($holder) = $session->query_safe('SELECT pg_backend_pid()') =~ /(\d+)/;
feed(10);
is_whole('free', 'locked: the other pipeline goes on');
my $worker = worker_pid($node, 'worker held');
wait_until('the worker to wait', sub { query("SELECT wait_event_type FROM pg_stat_activity WHERE pid = $worker") eq 'Lock' });
is(query("SELECT pg_blocking_pids($worker)"), "{$holder}", 'locked: it can be seen who holds it up');
$session->query_safe('COMMIT');
$session->quit;
is_whole('held', 'unlocked: it has everything');
is(query(q{SELECT coalesce(string_agg(error, ' '), '') FROM kafka.pipelines}), '', 'and no pipeline has failed');

query(<<~'SQL');
	CREATE FUNCTION dawdle() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_sleep(0.05); RETURN NULL; END $$;
	CREATE TRIGGER dawdle AFTER INSERT ON held FOR EACH ROW EXECUTE FUNCTION dawdle();
	DO $$ BEGIN EXECUTE format('ALTER ROLE %I SET statement_timeout = %L', current_user, '300ms'); END $$;
	SQL
feed(40);
is_whole('free', 'a slow trigger: the other pipeline goes on');
is_whole('held', 'and its own has everything, in batches that take longer than a statement of its owner may');
is(query(q{SELECT count(*) FROM kafka.dead_letters}), 0, 'no record is to blame');
is(query(q{SELECT coalesce(string_agg(error, ' '), '') FROM kafka.pipelines}), '', 'and no pipeline has failed');

done_testing();
