# The broker stands still while a publisher begins: the pipeline and the ordinary transactions say what they wait for long before that fails, and go
# on by themselves.

use strict;
use warnings;
use KafkaViews;
use Test::More;

my $broker = KafkaViews::Broker->new;
my $node = new_node('main', broker => $broker);
my $produced = 0;

# Waits for the status of a pipeline ("output") or of ordinary transactions ("publisher"); returns it.
# The supervisor says of a process that ended by itself just that.
sub status
{
	my ($kind) = @_;

	return wait_until("a status of $kind", sub {
		return $node->safe_psql('postgres', "SELECT error FROM kafka_state.processes() WHERE kind = '$kind' AND error <> 'the process ended unexpectedly'") });
}

sub ids { return join ' ', map { /(\d+)/ } $broker->consume($_[0], format => '%v') }

# Gives both something to publish, from a broker that goes on, and waits until it is out.
sub goes_on
{
	my ($what) = @_;

	$broker->thaw;
	$produced++;
	# one that stood still has no topics for a moment when it is missed
	wait_until('the broker to take a record', sub { return eval { $broker->produce('input', qq(\\N\t{"id":$produced})); 1 } });
	wait_for_view($node, 'passed');
	wait_until("message $produced of ordinary transactions", sub { return eval { ids('facts') eq join ' ', 1 .. $produced } });
	wait_until("message $produced of the pipeline", sub { return eval { ids('output') eq join ' ', 1 .. $produced } });
	pass("$what: both go on, each message once");
	wait_until('the errors to go', sub { return $node->safe_psql('postgres', 'SELECT count(error) FROM kafka_state.processes()') eq '0' });
	return;
}

open_passage($node, $broker);
$node->safe_psql('postgres', 'INSERT INTO facts VALUES (1)');
goes_on('at first');

$broker->freeze;
$node->safe_psql('postgres', 'INSERT INTO facts VALUES (2)');
kill_worker($node, 'publisher', 'TERM');
like(status('output'), qr/^publishing waits for server "broker" to open a producer$/, 'open: the pipeline says so');
like(status('publisher'), qr/^publishing waits for server "broker" to open a producer$/, 'open: ordinary transactions say so');
goes_on('open');

done_testing();
