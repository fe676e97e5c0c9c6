# A transaction of two phases is published when it commits, as any other, and not when the publisher looks by itself: which here is
# after an hour. Neither is one that is rolled back.

use strict;
use warnings;
use KafkaViews;
use Test::More;

my $broker = KafkaViews::Broker->shared;
my $node = new_node('main', broker => $broker, conf => "kafka.commit_interval = '1 h'\nmax_prepared_transactions = 5");
my $topic = 'commit_prepared';

$broker->create($topic);
$node->safe_psql('postgres', <<~"SQL");
	CREATE FOREIGN TABLE facts (id int) SERVER broker OPTIONS (topic '$topic');
	CREATE TABLE fact (id int);
	CREATE TRIGGER publish AFTER INSERT ON fact REFERENCING NEW TABLE AS new
	  FOR EACH STATEMENT EXECUTE FUNCTION kafka.publish('facts');
	SQL

# Writes in a transaction, prepares it and ends it in another session.
sub write_and
{
	my ($id, $end) = @_;

	$node->safe_psql('postgres', "BEGIN; INSERT INTO fact VALUES ($id); PREPARE TRANSACTION 'fact_$id'");
	$node->safe_psql('postgres', "$end PREPARED 'fact_$id'");
	return;
}

write_and(1, 'COMMIT');
is(join(' ', wait_for_sink($broker, $topic, 1, format => '%v')), '{"id":1}', 'the first one, for which there was no publisher yet');
wait_until('the publisher to have nothing to do', sub {
	$node->safe_psql('postgres', 'SELECT published FROM kafka_state.transaction_batch') eq 't' });
write_and(2, 'ROLLBACK');
write_and(3, 'COMMIT');
is(join(' ', wait_for_sink($broker, $topic, 2, format => '%v')), '{"id":1} {"id":3}', 'the next ones, for which there was');

done_testing();
