# Nothing is in Kafka that a crash of Postgres could take away. The postmaster is killed (-9) as soon as a message is in the sink, while WAL is written
# for nobody but who waits for it. What the message tells is in the view then, and in the table of a session that had not waited for its commit, before
# Kafka has been asked for anything; and nothing is applied again.

use strict;
use warnings;
use KafkaViews;
use Test::More;

my $broker = KafkaViews::Broker->new;
# the first change of a page after a crash is a small record too, so that WAL buffers do not fill up, which has them written
my $node = new_node('main', broker => $broker, conf => "autovacuum = off\nfull_page_writes = off\nwal_buffers = 16MB");
my $rounds = 3;

open_passage($node, $broker);
$node->safe_psql('postgres', q{
	CREATE TABLE fact (id int);
	CREATE TRIGGER publish AFTER INSERT ON fact REFERENCING NEW TABLE AS new FOR EACH STATEMENT EXECUTE FUNCTION kafka.publish('facts');
});

# Starts it again while Kafka gives no answer: what the table has is what the crash has left.
sub left_in
{
	my ($table) = @_;

	$broker->freeze;
	restart_after_crash($node);
	my $ids = $node->safe_psql('postgres', "SET kafka.allow_incomplete_reads = on; SELECT string_agg(id::text, ' ' ORDER BY id) FROM $table");
	$broker->thaw;
	return $ids;
}

for my $n (1 .. $rounds)
{
	wait_for_view($node, 'passed');
	kill_unwritten($node, sub { $broker->produce('input', '\N' . qq(\t{"id":$n})); wait_for_sink($broker, 'output', $n) });
	is(left_in('passed'), join(' ', 1 .. $n), "round $n: the view has what was published");
}
for my $n (1 .. $rounds)
{
	wait_until('the last batch of transactions to be over', sub {
		$node->safe_psql('postgres', 'SELECT coalesce(bool_and(published), true) FROM kafka_state.transaction_batch') eq 't' });
	kill_unwritten($node, sub {
		$node->safe_psql('postgres', "SET synchronous_commit = off; INSERT INTO fact VALUES ($n)");
		wait_for_sink($broker, 'facts', $n);
	});
	is(left_in('fact'), join(' ', 1 .. $n), "round $n: the table has what its session had not waited for");
}
wait_for_view($node, 'passed');
check_nothing_lost($node, 'after kills');
is(join(' ', map { /(\d+)/ } $broker->consume($_, format => '%v')), join(' ', 1 .. $rounds), "every message is in $_ once") for qw(output facts);

done_testing();
