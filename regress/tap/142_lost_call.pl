# A call into librdkafka that never returns, as send_offsets_to_transaction may when the coordinator of a group goes at the wrong moment: the publisher
# ends, says why, and the next one goes on where it stood, each message once. So do the other outputs that it serves.

use strict;
use warnings;
use KafkaViews;
use PostgreSQL::Test::Utils;
use Test::More;

my $broker = KafkaViews::Broker->new;
my $node = new_node('main', broker => $broker, install_path => fault_build());
my $hang = $node->data_dir . '/kafka_fault_hang';

sub numbers { my ($topic) = @_; return join ' ', map { /(\d+)/ } $broker->consume($topic, format => '%v') }

open_passage($node, $broker);
$node->safe_psql('postgres', 'INSERT INTO facts VALUES (1)');
$broker->produce('input', qq(\\N\t{"id":1}));
wait_for_view($node, 'passed');
wait_for_sink($broker, 'facts', 1);
my $publisher = worker_pid($node, 'publisher');

append_to_file($hang, '');
$broker->produce('input', qq(\\N\t{"id":2}));
$node->safe_psql('postgres', 'INSERT INTO facts VALUES (2)');
wait_until('the publisher to end and say why', sub { return slurp_file($node->logfile) =~ /publisher LOG:  a call into librdkafka does not return/ });
worker_pid($node, 'publisher', not => $publisher);
unlink $hang;

wait_for_view($node, 'passed');
wait_for_sink($broker, 'facts', 2);
is(numbers('output'), '1 2', 'the output goes on with another publisher, each message once');
is(numbers('facts'), '1 2', 'and so do ordinary transactions');
wait_until('the error to go', sub {
	return $node->safe_psql('postgres', q(SELECT count(*) FROM kafka.topics WHERE publish_error IS NOT NULL)) eq '0' });
pass('the error is gone');
done_testing();
