# Copies of a database: of the whole cluster by pg_basebackup, by CREATE DATABASE ... TEMPLATE, by pg_dump into a database beside the original. Each starts
# nothing and fences nobody until it is told who it is. kafka.fork() makes it another one, which reads and publishes beside the
# original. kafka.adopt() puts it in the original's place: that one stops, names who has taken over, and goes on only when told to.

use strict;
use warnings;
use KafkaViews;
use PostgreSQL::Test::Utils;
use Test::More;

my $broker = KafkaViews::Broker->new;
my $node = new_node('original', broker => $broker, init => [ allows_streaming => 1 ]);
my $produced = 0;

$node->safe_psql('postgres', q{CREATE DATABASE shop});
add_extension($node, 'shop', $broker);
open_passage($node, $broker, 'shop');
$node->safe_psql('shop', 'INSERT INTO facts VALUES (0)');

sub feed
{
	$produced++;
	$broker->produce('input', '\N' . qq(\t{"id":$produced}));
	return;
}

# What a node has: the sum of its rows, which tells which records it has applied.
sub total { my ($where, $database) = @_; return $where->safe_psql($database // 'shop', 'SELECT coalesce(sum(id), 0) FROM passed') }

# How often each id is in the sink, "id:times ...".
sub times_of
{
	my %times;
	$times{$_}++ for map { /(\d+)/ } $broker->consume('output', format => '%v');
	return join ' ', map { "$_:$times{$_}" } sort { $a <=> $b } keys %times;
}

sub facts
{
	my ($count) = @_;
	return join ' ', map { /(\d+)/ } wait_for_sink($broker, 'facts', $count, format => '%v');
}

# A copy stands still, says why, and does not disturb the original.
sub check_still
{
	my ($where, $database, $what) = @_;
	my $before = total($where, $database);

	feed();
	wait_for_view($node, 'passed', 'shop');
	is(total($where, $database), $before, "$what: the copy stands still");
	is($where->safe_psql('postgres', "SELECT count(*) FROM pg_stat_activity WHERE datname = '$database' AND backend_type ~ 'kafka_views (worker|publisher)'"),
		0, "$what: it runs nothing");
	wait_until("$what: it says why", sub {
		return $where->safe_psql($database, q{SELECT error || error_hint FROM kafka_state.processes() WHERE kind = 'supervisor'}) =~ /not the one that Kafka knows.*kafka\.adopt\(\)/ });
	is($node->safe_psql('shop', 'SELECT publish_error FROM kafka.pipelines'), '', "$what: the original is not disturbed");
	return;
}

# It publishes what comes from now on too, as somebody else.
sub check_fork
{
	my ($where, $database, $what) = @_;

	$where->safe_psql($database, 'SELECT kafka.fork()');
	wait_for_view($where, 'passed', $database);
	feed();
	wait_for_view($_->[0], 'passed', $_->[1]) for [ $where, $database ], [ $node, 'shop' ];
	is(total($where, $database), $produced * ($produced + 1) / 2, "$what: after kafka.fork() it goes on");
	is($node->safe_psql('shop', 'SELECT publish_error FROM kafka.pipelines'), '', "$what: the original goes on too");
	like(times_of(), qr/ $produced:2$/, "$what: both publish");
	return;
}

feed();
wait_for_view($node, 'passed', 'shop');
# a copy that does not know that a message is out publishes it as somebody else
wait_until('the fact to be noted', sub { return $node->safe_psql('shop', 'SELECT published FROM kafka_state.transaction_batch') eq 't' });

# who may not copy the database does not stop its processes either
my $processes = q{SELECT string_agg(pid::text, ' ' ORDER BY pid) FROM pg_stat_activity WHERE datname = 'shop' AND backend_type LIKE 'kafka_views%'};
my $running = $node->safe_psql('postgres', $processes);
$node->safe_psql('postgres', 'CREATE ROLE maker CREATEDB LOGIN');
isnt($node->psql('postgres', 'SET ROLE maker; CREATE DATABASE template_copy TEMPLATE shop', on_error_stop => 1), 0, 'who does not own the database may not copy it');
is($node->safe_psql('postgres', $processes), $running, 'nor stop its processes by trying');
$node->safe_psql('postgres', 'CREATE DATABASE template_copy TEMPLATE shop');
check_still($node, 'template_copy', 'template');
check_fork($node, 'template_copy', 'template');
$node->safe_psql('postgres', 'DROP DATABASE template_copy');

my $dump = PostgreSQL::Test::Utils::tempdir . '/dump.sql';
$node->run_log([ 'pg_dump', '-f', $dump, $node->connstr('shop') ]);
$node->safe_psql('postgres', 'CREATE DATABASE restored');
$node->command_ok([ 'psql', '-X', '-q', '-v', 'ON_ERROR_STOP=1', '-f', $dump, $node->connstr('restored') ], 'restored beside the original');
check_still($node, 'restored', 'restored');
check_fork($node, 'restored', 'restored');
$node->safe_psql('postgres', 'DROP DATABASE restored');

$node->backup('base');
my $clone = PostgreSQL::Test::Cluster->new('clone');
$clone->init_from_backup($node, 'base');
$clone->start;
check_still($clone, 'shop', 'clone');

# in the original's place: what it has published meanwhile is not published again
my $before = times_of();
# both write to a topic: the original publishes the next batch of ordinary transactions, which is not what waits here
$node->safe_psql('shop', 'INSERT INTO facts VALUES (1)');
wait_for_sink($broker, 'facts', 2);
$clone->safe_psql('shop', 'INSERT INTO facts VALUES (2)');
$clone->safe_psql('shop', 'SELECT kafka.adopt()');
wait_for_view($clone, 'passed', 'shop');
is(times_of(), $before, 'adopted: nothing is published again');
feed();
wait_for_view($clone, 'passed', 'shop');
wait_until('the original to see that it is replaced', sub {
	return $node->safe_psql('shop', 'SELECT publish_error FROM kafka.pipelines') =~ /is published by a server that has taken the place of this one/ });
my $owner = $node->safe_psql('shop', 'SELECT publish_error_detail FROM kafka.pipelines');
like($owner, qr/Its owner in Kafka is \S+:${\ $clone->port}:/, 'adopted: the original names who has taken over');
like(times_of(), qr/ $produced:1$/, 'adopted: the copy alone publishes');
feed();
wait_for_view($clone, 'passed', 'shop');
like(times_of(), qr/ $produced:1$/, 'adopted: the original stays stopped');
is(facts(3), '0 1 2', 'adopted: what was written to the copy before goes out');
$clone->safe_psql('shop', 'INSERT INTO facts VALUES (3)');
wait_for_sink($broker, 'facts', 4);

# the hint of the original, followed: what it has must not be taken for what the other one has published under the same numbers
$node->safe_psql('shop', 'INSERT INTO facts VALUES (4)');
wait_until('ordinary transactions to see it too', sub { return $node->safe_psql('shop',
	q{SELECT string_agg(error, '') FROM kafka_state.processes() WHERE kind = 'publisher'}) =~ /ordinary transactions are published .* by a server that has taken/ });
my $published = $node->safe_psql('shop', 'SELECT batch FROM kafka_state.published');
$node->safe_psql('shop', q{SELECT kafka.resume('passed')});
wait_until('it to look again', sub { return $node->safe_psql('shop', 'SELECT publish_error FROM kafka.pipelines') =~ /has taken the place/ });
is($node->safe_psql('shop', 'SELECT batch FROM kafka_state.published'), $published, 'resumed by mistake, the original takes nothing for published');
$node->safe_psql('shop', 'SELECT kafka.fork()');
feed();
wait_for_view($_, 'passed', 'shop') for $node, $clone;
wait_for_sink($broker, 'facts', 5);
is($_->safe_psql('shop', 'SELECT count(*), sum(id) FROM passed'), join('|', $produced, $produced * ($produced + 1) / 2), "$_->{_name} has every record once")
  for $node, $clone;
like(times_of(), qr/ $produced:2$/, 'after kafka.fork() in the original both go on');
is(facts(5), '0 1 2 3 4', 'and so do ordinary transactions');

# while the publisher is about to make the next batch of ordinary transactions
my $session = $node->background_psql('shop', on_error_die => 1);
$session->query_safe('BEGIN; SELECT FROM kafka_state.transaction_batch FOR UPDATE');
$node->safe_psql('shop', 'INSERT INTO facts VALUES (5)');
wait_until('the publisher to find the batch locked', sub { return $node->safe_psql('shop',
	q{SELECT count(*) FROM kafka_state.processes() WHERE kind = 'publisher' AND error ~ 'has locked their batch'}) eq '1' });
$session->query_safe('SELECT kafka.fork()');
$session->query_safe('COMMIT');
$session->quit;
is(facts(6), '0 1 2 3 4 5', 'kafka.fork() leaves no message behind');

# nothing is to be adopted where the database is the one that Kafka knows
my $identity = 'SELECT i::text FROM kafka_state.identity i';
my $known = $node->safe_psql('shop', $identity);
$node->safe_psql('shop', 'SELECT kafka.adopt()');
is($node->safe_psql('shop', $identity), $known, 'kafka.adopt() does nothing where nothing is to be adopted');

done_testing();
