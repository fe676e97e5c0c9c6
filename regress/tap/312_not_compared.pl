# A server takes over while Kafka cannot be reached: a promoted standby, a backup that is brought back on the same timeline. It does not know
# yet whether it is behind what consumers have seen, so its views cannot be read, and get no sinks, until it does, not even by sessions that
# read them when it was a standby. A server that starts again where it was knows, and so does a standby.

use strict;
use warnings;
use KafkaViews;
use PostgreSQL::Test::Utils;
use Test::More;

my $broker = KafkaViews::Broker->new;
my $primary = new_node('primary', broker => $broker, conf => "kafka.instance = 'compared'", init => [ allows_streaming => 1 ]);
my $unknown = qr/it is not known yet whether continuous view "passed" is behind what has been published from it/;
my $behind = qr/continuous view "passed" is behind what has been published from it/;

sub feed { my (@ids) = @_; $broker->produce('input', map { '\N' . qq(\t{"id":$_}) } @ids); return }
sub ids { my ($topic) = @_; return join ' ', map { /(\d+)/ } $broker->consume($topic, format => '%v') }
sub rows { my ($node) = @_; return $node->safe_psql('postgres', q{SELECT string_agg(id::text, ' ' ORDER BY id) FROM passed}) }

# Refuses to read the view; returns the hint's setting at work.
sub check_refused
{
	my ($node, $pattern, $rows, $what) = @_;
	my (undef, undef, $error) = $node->psql('postgres', 'SELECT id FROM passed');

	like($error, $pattern, "$what: the view cannot be read");
	is($node->safe_psql('postgres', q{SET kafka.allow_incomplete_reads = on; SELECT string_agg(id::text, ' ' ORDER BY id) FROM passed}),
		$rows, "$what: but with the setting");
	return;
}

$broker->create($_, 1, 'retention.ms=-1') for qw(input output more);
$primary->safe_psql('postgres', q{
	CREATE FOREIGN TABLE input (id int) SERVER broker OPTIONS (topic 'input');
	CREATE FOREIGN TABLE output (id int) SERVER broker OPTIONS (topic 'output');
	CREATE FOREIGN TABLE more (id int) SERVER broker OPTIONS (topic 'more');
	BEGIN;
	CREATE MATERIALIZED VIEW passed WITH (kafka.continuous) AS SELECT id FROM input;
	SELECT kafka.attach_sink('passed', 'output');
	COMMIT;
	CREATE TABLE plain (id int);
});
feed(1, 2);
wait_for_view($primary, 'passed');
$primary->backup('base');
my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($primary, 'base', has_streaming => 1);
$standby->start;
$primary->wait_for_catchup($standby);
# it has this much and no more
$primary->safe_psql('postgres', q{SELECT kafka.pause('passed')});
$primary->wait_for_catchup($standby);
$standby->append_conf('postgresql.conf', "primary_conninfo = ''");
$standby->restart;
$primary->safe_psql('postgres', q{SELECT kafka.resume('passed')});
feed(3 .. 5);
wait_for_view($primary, 'passed');
is(ids('output'), '1 2 3 4 5', 'consumers have seen more than the standby has');
is(rows($standby), '1 2', 'a standby may be read');
my $session = $standby->background_psql('postgres', on_error_stop => 0);
is($session->query_safe('SELECT count(*) FROM passed'), 2, 'by a session that stays');

# an ordinary start knows
$broker->stop;
$primary->kill9;
restart_after_crash($primary);
is(rows($primary), '1 2 3 4 5', 'a server that starts again may be read though Kafka is away');
$primary->stop('immediate');

$standby->promote;
check_refused($standby, $unknown, '1 2', 'promoted');
$session->query('SELECT count(*) FROM passed');
like($session->{stderr}, $unknown, 'promoted: nor by the session that could');
$session->{stderr} = '';
is($session->query_safe('SELECT count(*) FROM plain'), 0, 'promoted: other tables can');
$standby->restart;
check_refused($standby, $unknown, '1 2', 'promoted and started again');

# what it has to do again is refused by the snapshot of the query, which may be from before that was done
my $before = $standby->background_psql('postgres', on_error_stop => 0);
$before->query_safe('BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM plain');
$broker->start;
wait_until('the publisher to have asked Kafka', sub { $standby->safe_psql('postgres', 'SELECT count(*) FROM kafka_state.redo') eq '1' });
check_refused($standby, $behind, '1 2', 'compared');
# and a sink that is attached meanwhile is refused as of now: its rows are not those that Kafka has under the batch's number
$before->query(q{SELECT kafka.attach_sink('passed', 'more')});
like($before->{stderr}, $behind, 'compared: no sink can be attached with a snapshot from before');
$before->quit;
my $old = $standby->background_psql('postgres', on_error_stop => 0);
$old->query_safe('BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM plain; SAVEPOINT s');
$standby->safe_psql('postgres', q{SELECT kafka.resume('passed')});
wait_for_view($standby, 'passed');
is(rows($standby), '1 2 3 4 5', 'done again: the view can be read');
$old->query('SELECT count(*) FROM passed');
like($old->{stderr}, $behind, 'but not with an old snapshot');
$old->{stderr} = '';
$old->query_safe('ROLLBACK');
is($old->query_safe('SELECT count(*) FROM passed'), 5, 'and with the next one');
is(ids('output'), '1 2 3 4 5', 'nothing is published again');

$broker->stop;
$standby->kill9;
restart_after_crash($standby);
is(rows($standby), '1 2 3 4 5', 'from here on it knows');
$_->quit for $session, $old;
$standby->stop;

# a backup on the timeline that it was made on, and nothing of a promotion
my $restored = PostgreSQL::Test::Cluster->new('restored');
$restored->init_from_backup($primary, 'base');
$restored->start;
check_refused($restored, $unknown, '1 2', 'restored');
$restored->stop;

done_testing();
