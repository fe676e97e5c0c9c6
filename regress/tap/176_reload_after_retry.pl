# The configuration is read again after the worker has looked whether more dead letters are to be tried, and found none, while records wait for
# their batch: its memory is its own then, and not that of the transaction in which it looked, and the process goes on.

use strict;
use warnings;
use KafkaViews;
use PostgreSQL::Test::Utils;
use Test::More;

my $broker = KafkaViews::Broker->shared;
my $node = new_node('main', broker => $broker);
my $good = 0;

sub query { return $node->safe_psql('postgres', $_[0]) }
sub count { return query("SELECT count(*) FROM ids WHERE id $_[0]") }
sub feed { $good++; return $broker->produce('reloaded', '\N' . qq(\t{"id":$good})) }

sub set_interval
{
	my ($interval) = @_;

	query(qq(ALTER SYSTEM SET kafka.batch_interval = '$interval'));
	query('SELECT pg_reload_conf()');
	return;
}

$broker->create('reloaded', 1, 'retention.ms=-1');
query(<<~'SQL');
	CREATE DOMAIN small AS int CHECK (VALUE < 100);
	CREATE FOREIGN TABLE reloaded (id small) SERVER broker OPTIONS (topic 'reloaded');
	CREATE MATERIALIZED VIEW ids WITH (kafka.continuous) AS SELECT id::int AS id FROM reloaded;
	SQL
$broker->produce('reloaded', map { '\N' . qq(\t{"id":$_}) } 101 .. 110);
wait_for_view($node, 'ids');
is(query('SELECT count(*) FROM kafka.dead_letters'), 10, 'dead letters');
my $worker = worker_pid($node, 'kafka_views worker ids');
query('ALTER DOMAIN small DROP CONSTRAINT small_check');

# records wait; one that comes wakes the worker, which looks for more dead letters after each that it has applied
set_interval('1h');
feed();
for my $id (101 .. 110)
{
	query("SELECT kafka.retry_dead_letters('reloaded', ARRAY(SELECT id FROM kafka.dead_letters WHERE convert_from(value, 'UTF8') ~ '$id'))");
	wait_until("$id to be applied", sub { count("= $id") eq '1' });
	feed();
	query('SELECT pg_reload_conf()') for 1 .. 3;
}
set_interval('20ms');
wait_for_view($node, 'ids');
is(count('> 100'), 10, 'all dead letters are applied');
is(count('< 100'), $good, 'and the other records');
is(worker_pid($node, 'kafka_views worker ids'), $worker, 'by one process');
done_testing();
