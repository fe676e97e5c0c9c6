# pg_upgrade, here to another cluster of the same version: while it looks at the old cluster nothing of ours runs, or it would carry over less than there is.
# The new one is a copy to Kafka, starts nothing, and after kafka.adopt() goes on where the old one ended, each message once: what had waited, a view of
# groups with its state, a join with its buffers, a view that is not stored.

use strict;
use warnings;
use KafkaViews;
use PostgreSQL::Test::Utils;
use Test::More;

my $broker = KafkaViews::Broker->shared;
my $old = new_node('old', broker => $broker);
my @views = qw(totals joined even evens);

sub produce { my @ids = @_; return $broker->produce('up_input', map { qq(\\N\t{"id":$_,"k":${\ ($_ % 3)}}) } @ids) }
sub ids { my ($topic) = @_; return join ' ', sort { $a <=> $b } map { /"id":(\d+)/ } $broker->consume($topic, format => '%v') }

$broker->create("up_$_", 1, 'retention.ms=-1') for qw(input joined even facts);
$old->safe_psql('postgres', q{
	CREATE FOREIGN TABLE input (id int, k int, at timestamptz OPTIONS (metadata 'timestamp')) SERVER broker OPTIONS (topic 'up_input');
	CREATE FOREIGN TABLE joined_sink (id int) SERVER broker OPTIONS (topic 'up_joined');
	CREATE FOREIGN TABLE even_sink (id int) SERVER broker OPTIONS (topic 'up_even');
	CREATE FOREIGN TABLE facts (id int) SERVER broker OPTIONS (topic 'up_facts');
	CREATE MATERIALIZED VIEW totals WITH (kafka.continuous) AS SELECT k, count(*) AS n, avg(id) AS mean, count(DISTINCT id) AS d FROM input GROUP BY k;
	BEGIN;
	CREATE MATERIALIZED VIEW joined WITH (kafka.continuous) AS SELECT a.id FROM input a JOIN input b ON b.id = a.id AND b.at = a.at;
	SELECT kafka.attach_sink('joined', 'joined_sink');
	COMMIT;
	BEGIN;
	CREATE VIEW even WITH (kafka.continuous) AS SELECT id, at FROM input WHERE id % 2 = 0;
	CREATE MATERIALIZED VIEW evens WITH (kafka.continuous) AS SELECT count(*) AS n FROM even;
	SELECT kafka.attach_sink('even', 'even_sink');
	COMMIT;
});
produce(1 .. 10);
$old->safe_psql('postgres', 'INSERT INTO facts VALUES (1)');
wait_for_view($old, $_) for @views;
wait_for_sink($broker, 'up_facts', 1);
my $publisher = kill_worker($old, 'publisher', 'STOP');
$old->safe_psql('postgres', 'INSERT INTO facts VALUES (2)');
$old->stop('immediate');
kill 'KILL', $publisher;
# a cluster that has recovered and stopped, with its message still waiting: it cannot go out without a process of ours
$old->append_conf('postgresql.conf', "shared_preload_libraries = ''");
$old->start;
$old->stop;
$old->append_conf('postgresql.conf', "shared_preload_libraries = 'kafka_views'");
produce(11 .. 20);

my $new = PostgreSQL::Test::Cluster->new('new');
my $bin = $old->config_data('--bindir');
$new->init;
$new->append_conf('postgresql.conf', "shared_preload_libraries = 'kafka_views'\nmax_worker_processes = 64\nlog_line_prefix = '%m [%p] %b %q%a '\n");
chdir PostgreSQL::Test::Utils::tempdir;
command_ok([ 'pg_upgrade', '--no-sync', '-d', $old->data_dir, '-D', $new->data_dir, '-b', $bin, '-B', $bin, '-s', $new->host, '-p', $old->port,
	'-P', $new->port ], 'pg_upgrade');
is(ids('up_facts'), '1', 'nothing has gone out meanwhile');
$new->start;
wait_until('the log to say that it is a copy', sub { return slurp_file($new->logfile) =~ /this database is not the one that Kafka knows/ });
$new->safe_psql('postgres', 'SELECT kafka.adopt()');
$new->safe_psql('postgres', 'INSERT INTO facts VALUES (3)');
wait_for_view($new, $_) for @views;
wait_for_sink($broker, 'up_facts', 3);
is(ids('up_facts'), '1 2 3', 'the message that had waited, once, and what comes after it');
is(ids('up_joined'), join(' ', 1 .. 20), 'the rows of a join, once');
is(ids('up_even'), join(' ', map { 2 * $_ } 1 .. 10), 'of an unstored view, once');
is($new->safe_psql('postgres', "SELECT * FROM kafka.verify('$_')"), '', "$_ equals its query") for qw(totals joined);
is($new->safe_psql('postgres', 'SELECT n FROM evens'), 10, 'so does the view over the unstored one');
$new->stop;
done_testing();
