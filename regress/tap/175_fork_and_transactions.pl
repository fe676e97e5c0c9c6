# A batch of ordinary transactions goes out under the old names while a session has called kafka.fork(), or just before that commits. It is noted
# before anything goes out under the new names, of which Kafka has no sign: nothing goes out again, not where the session had locked the note for
# a while, nor where a part of the batch was out, nor after a crash.

use strict;
use warnings;
use KafkaViews;
use PostgreSQL::Test::Utils;
use Test::More;

my $broker = KafkaViews::Broker->new;
my $node = new_node('main', broker => $broker, conf => "autovacuum = off\nkafka.transaction_size = 1kB");
my $next = 0;

sub query { return $node->safe_psql('postgres', $_[0]) }
sub ids { return join ' ', map { /"id":(\d+)/ } $broker->consume('facts', format => '%v') }
sub all { return join ' ', 1 .. $next }
sub noted { return query('SELECT published FROM kafka_state.transaction_batch') eq 't' }

# Messages of a batch, each a row of the outbox, are on their way and wait for the broker, to which the one before has opened a producer.
sub put_on_its_way
{
	my ($count) = @_;

	$next++;
	query("INSERT INTO facts VALUES ($next, '')");
	wait_until('a message before', sub { ids() =~ /\b$next$/ && noted() });
	$broker->freeze;
	query("INSERT INTO facts SELECT i, repeat('x', 9000) FROM generate_series($next + 1, $next + $count) i");
	$next += $count;
	wait_until('the publisher to wait', sub { query(q{SELECT count(*) FROM kafka_state.processes() WHERE error ~ 'publishing waits'}) ne '0' });
	return;
}

# The session that has called kafka.fork(), once the batch is out as far as it can be and the publisher has found the note locked.
sub fork_beside
{
	my $session = $node->background_psql('postgres', on_error_die => 1);
	my $position = -s $node->logfile;

	$session->query_safe('BEGIN; SELECT kafka.fork()');
	$broker->thaw;
	$node->wait_for_log(qr/messages of ordinary transactions wait for a transaction that has locked their batch/, $position);
	return $session;
}

$broker->create('facts', 1, 'retention.ms=-1');
query(q{CREATE FOREIGN TABLE facts (id int, pad text) SERVER broker OPTIONS (topic 'facts')});
query(q{INSERT INTO facts VALUES (1, '')});
$next = 1;
wait_for_sink($broker, 'facts', $next);

for my $count (1, 4)
{
	put_on_its_way($count);
	my $session = fork_beside();
	$session->query_safe('COMMIT');
	$session->quit;
	wait_until('the batch to be noted', \&noted);
	is(ids(), all(), "a note that was locked is made under the new names: $count");
}

put_on_its_way(1);
my $session = fork_beside();
kill_unwritten($node, sub {
	$session->query_safe('COMMIT');
	wait_until('the batch to be noted', \&noted);
	$session->quit });
restart_after_crash($node);
query('INSERT INTO facts VALUES (' . ++$next . ')');
wait_until('the next one', sub { ids() =~ / $next$/ });
is(ids(), all(), 'and outlives a crash');

put_on_its_way(1);
query('SELECT kafka.fork()');
kill_unwritten($node, sub { $broker->thaw; wait_until('the batch to be noted', \&noted) });
restart_after_crash($node);
query('INSERT INTO facts VALUES (' . ++$next . ')');
wait_until('the next one', sub { ids() =~ / $next$/ });
is(ids(), all(), 'so does one that was not locked');

done_testing();
