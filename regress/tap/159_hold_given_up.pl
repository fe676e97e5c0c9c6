# A statement for which our processes must be away is given up while one of them takes long to end: by its timeout, in a session that stays
# connected, as that of a pool does. The database is not kept held: the pipelines go on as soon as the process has ended.

use strict;
use warnings;
use KafkaViews;
use Test::More;

my $broker = KafkaViews::Broker->shared;
my $node = new_node('main', broker => $broker);
my $produced = 0;

sub query { return $node->safe_psql('postgres', $_[0]) }
sub applied
{
	$broker->produce('given_up', qq(\\N\t{"id":@{[ ++$produced ]}}));
	return wait_until("record $produced", sub { query('SELECT count(*) FROM passed') eq $produced });
}

$broker->create('given_up', 1, 'retention.ms=-1');
query(<<~'SQL');
	CREATE FOREIGN TABLE given_up (id int) SERVER broker OPTIONS (topic 'given_up');
	CREATE MATERIALIZED VIEW passed WITH (kafka.continuous) AS SELECT id FROM given_up;
	SQL
applied();
for my $case ([ 'template1', 'ALTER DATABASE postgres RENAME TO another' ],
	[ 'template1', 'CREATE DATABASE another TEMPLATE postgres' ], [ 'postgres', 'DROP EXTENSION kafka_views CASCADE' ])
{
	my ($database, $statement) = @$case;
	my $session = $node->background_psql($database, on_error_stop => 0);
	my $worker = kill_worker($node, 'kafka_views worker passed', 'STOP');

	$session->query_safe(q{SET statement_timeout = '500ms'});
	$session->query($statement);
	like($session->{stderr}, qr/canceling statement due to statement timeout/, "$statement: is given up");
	$session->{stderr} = '';
	kill 'CONT', $worker or die "could not signal $worker: $!";
	applied();
	ok(worker_pid($node, 'kafka_views worker passed', not => $worker), 'the process had been asked to end, and another one goes on');
	is($session->query_safe('SELECT 1'), '1', 'while the session is still connected');
	$session->quit;
}
done_testing();
