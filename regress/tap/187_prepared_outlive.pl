# Prepared transactions that outlive a crash, a kafka.fork() beside which they are committed, and, in a copy, a kafka.adopt(): what they have written, in
# many rows and around a savepoint that was rolled back, goes out once when they are committed.

use strict;
use warnings;
use KafkaViews;
use PostgreSQL::Test::Utils;
use Test::More;

my $broker = KafkaViews::Broker->new;
my $node = new_node('main', broker => $broker, conf => 'max_prepared_transactions = 5', init => [ allows_streaming => 1 ]);
my $rows = 2000;
my $expected = 0;

# Prepares a transaction that has written an id so often, and writes another id behind it.
sub prepare
{
	my ($server, $id) = @_;

	$server->safe_psql('postgres', "BEGIN; INSERT INTO facts VALUES ($id); SAVEPOINT s; INSERT INTO facts VALUES (0); ROLLBACK TO s;"
		. " INSERT INTO facts SELECT $id FROM generate_series(2, $rows); PREPARE TRANSACTION 'p$id'");
	write_one($server, 10 * $id);
	return;
}

sub write_one { my ($server, $id) = @_; $server->safe_psql('postgres', "INSERT INTO facts VALUES ($id)"); $expected++; return }
sub commit { my ($server, $id) = @_; $server->safe_psql('postgres', "COMMIT PREPARED 'p$id'"); $expected += $rows; return }

# How often each id is in the topic.
sub counted
{
	my %times;

	$times{$_}++ for map { /"id":(\d+)/ } wait_for_sink($broker, 'facts', $expected, format => '%v');
	return join ' ', map { "$_:$times{$_}" } sort { $a <=> $b } keys %times;
}

open_passage($node, $broker);
prepare($node, $_) for 1 .. 4;
commit($node, 1);
is(counted(), "1:$rows 10:1 20:1 30:1 40:1", 'committed as usual');
$node->kill9;
restart_after_crash($node);
commit($node, 2);
is(counted(), "1:$rows 2:$rows 10:1 20:1 30:1 40:1", 'after a crash');

$node->backup('backup');
my $session = $node->background_psql('postgres', on_error_die => 1);
$session->query_safe('BEGIN; SELECT kafka.fork()');
commit($node, 3);
write_one($node, 50);
$session->query_safe('COMMIT');
$session->quit;
commit($node, 4);
is(counted(), "1:$rows 2:$rows 3:$rows 4:$rows 10:1 20:1 30:1 40:1 50:1", 'while kafka.fork() is open, and after it');
$node->stop;

my $copy = PostgreSQL::Test::Cluster->new('copy');
$copy->init_from_backup($node, 'backup');
$copy->start;
commit($copy, 3);
write_one($copy, 60);
$copy->safe_psql('postgres', 'SELECT kafka.adopt()');
commit($copy, 4);
is(counted(), "1:$rows 2:$rows 3:@{[ 2 * $rows ]} 4:@{[ 2 * $rows ]} 10:1 20:1 30:1 40:1 50:1 60:1", 'in a copy, before it is adopted and after');
done_testing();
