# Kafka has committed a batch, Postgres has not noted it, and until it could Kafka forgets the group: nobody knows then whether the batch
# is out. Publishing stops, for a pipeline and for ordinary transactions, says which statement decides, and goes on by it; where
# nothing was under way a forgotten group stops nothing.

use strict;
use warnings;
use KafkaViews;
use PostgreSQL::Test::Utils;
use Test::More;

my $broker = KafkaViews::Broker->new;
my $node = new_node('main', broker => $broker, install_path => fault_build());

open_passage($node, $broker);
$node->safe_psql('postgres', 'INSERT INTO facts VALUES (1)');
$broker->produce('input', '\N' . qq(\t{"id":1}));
wait_for_view($node, 'passed');
wait_for_sink($broker, 'facts', 1);

my $prefix = $node->safe_psql('postgres', q{SELECT instance || '.' || kafka_database FROM kafka_state.identity});
my $group = $node->safe_psql('postgres', "SELECT '$prefix.' || pipeline || '.' || token FROM kafka_state.pipeline");
my $transactions = $node->safe_psql('postgres', "SELECT '$prefix.tx.broker.' || token FROM kafka_state.transaction_batch");

# Stops the node at once when the publisher has published what the code gives it, and not noted it, and starts it when Kafka has
# forgotten the group.
sub forget_before_note
{
	my ($point, $forgotten, $code) = @_;

	arm_fault($node, $point);
	$code->();
	wait_for_fault($node);
	$node->stop('immediate');
	release_fault($node);
	$broker->forget_group($forgotten);
	$node->start;
	return;
}

sub publisher_error
{
	return $node->safe_psql('postgres', q{SELECT error || '; ' || error_hint FROM kafka_state.processes() WHERE kind = 'publisher' AND error IS NOT NULL});
}

sub ids { my ($topic) = @_; return join ' ', map { /(\d+)/ } $broker->consume($topic, format => '%v') }

# nothing is under way, and it is so long ago that Kafka may have forgotten it by itself
wait_until('the first batch to be noted', sub { $node->safe_psql('postgres', 'SELECT published FROM kafka_state.transaction_batch') eq 't' });
$node->safe_psql('postgres', q{UPDATE kafka_state.published SET at = at - interval '8 days'});
$node->stop;
$broker->forget_group($_) for $group, $transactions;
$node->start;
$broker->produce('input', '\N' . qq(\t{"id":2}));
$node->safe_psql('postgres', 'INSERT INTO facts VALUES (2)');
wait_for_view($node, 'passed');
wait_for_sink($broker, 'facts', 2);
is(ids($_), '1 2', "a group that is forgotten while nothing is under way stops nothing: $_") for qw(facts output);

# the same a moment later: nobody can tell a group that was deleted from a topic that was
$node->stop;
$broker->forget_group($group);
$node->start;
wait_until('the pipeline to stop', sub { $node->safe_psql('postgres', 'SELECT error FROM kafka.pipelines') =~ /Kafka has lost the position/ });
my ($statement) = $node->safe_psql('postgres', 'SELECT error_hint FROM kafka.pipelines') =~ /only consumer group "\Q$group\E" was deleted: (SELECT .*\))\.$/;
$node->safe_psql('postgres', $statement);
$broker->produce('input', '\N' . qq(\t{"id":0}));
wait_for_view($node, 'passed');
is(ids('output'), '1 2 0', 'the hint followed: it goes on');

# a batch of a pipeline
forget_before_note('note_before', $group, sub {
	$broker->produce('input', '\N' . qq(\t{"id":3}));
	wait_for_sink($broker, 'output', 4);
});
wait_until('the pipeline to stop', sub { $node->safe_psql('postgres', 'SELECT publish_error FROM kafka.pipelines') =~ /Kafka has forgotten/ });
my $hint = $node->safe_psql('postgres', 'SELECT publish_error_hint FROM kafka.pipelines');
like($hint, qr/SELECT kafka\.resume\('passed', published => N\): .* (\d+) if none of them is there, (\d+) if all are/, 'it says what to do');
my ($none, $all) = $hint =~ /(\d+) if none of them is there, (\d+) if all are/;
$broker->produce('input', '\N' . qq(\t{"id":4}));
$node->safe_psql('postgres', "SELECT kafka.resume('passed', published => $all)");
wait_for_view($node, 'passed');
is(ids('output'), '1 2 0 3 4', 'told that all is out, it publishes what comes after');

forget_before_note('note_before', $group, sub {
	$broker->produce('input', '\N' . qq(\t{"id":5}));
	wait_for_sink($broker, 'output', 6);
});
wait_until('the pipeline to stop', sub { $node->safe_psql('postgres', 'SELECT publish_error FROM kafka.pipelines') =~ /Kafka has forgotten/ });
($none) = $node->safe_psql('postgres', 'SELECT publish_error_hint FROM kafka.pipelines') =~ /(\d+) if none/;
$node->safe_psql('postgres', "SELECT kafka.resume('passed', published => $none)");
wait_for_view($node, 'passed');
is(ids('output'), '1 2 0 3 4 5 5', 'told that nothing is out, it publishes what waited');

# a batch of ordinary transactions
for my $published ('true', 'false')
{
	my $id = $published eq 'true' ? 3 : 4;
	forget_before_note('transactions_published', $transactions, sub {
		$node->safe_psql('postgres', "INSERT INTO facts VALUES ($id)");
		wait_for_sink($broker, 'facts', $id);
	});
	wait_until('the publisher to stop', sub { publisher_error() =~ /Kafka has forgotten/ });
	my ($decision) = publisher_error() =~ /(SELECT kafka\.resume_transactions\('broker', published => true\)) if they are, published => false to publish/;
	ok($decision, 'it says what to do');
	$node->safe_psql('postgres', $decision =~ s/true/$published/r);
	wait_until('the batch to be noted', sub { $node->safe_psql('postgres', 'SELECT published FROM kafka_state.transaction_batch') eq 't' });
	is(ids('facts'), $published eq 'true' ? '1 2 3' : '1 2 3 4 4', "told published => $published");
}
$node->safe_psql('postgres', 'INSERT INTO facts VALUES (5)');
wait_for_sink($broker, 'facts', 6);
is(ids('facts'), '1 2 3 4 4 5', 'and it goes on');

# the statement once more, while a batch that nobody has asked about is under way
$broker->stop;
$node->safe_psql('postgres', 'INSERT INTO facts VALUES (6)');
wait_until('the batch to be under way', sub { $node->safe_psql('postgres', 'SELECT published FROM kafka_state.transaction_batch') eq 'f' });
kill_worker($node, 'publisher', 'TERM');
for my $published ('true', 'false')
{
	my (undef, undef, $error) = $node->psql('postgres', "SELECT kafka.resume_transactions('broker', published => $published)");
	like($error, qr/no batch of ordinary transactions waits for a decision on server "broker"/, "nothing to decide, published => $published");
}
$broker->start;
wait_for_sink($broker, 'facts', 7);
is(ids('facts'), '1 2 3 4 4 5 6', 'and nothing is lost by a decision that nobody has asked for');

done_testing();
