# A server takes its place back from a copy while its worker waits in a batch: the worker is told that Kafka has more, applies that again, and
# its next batches get numbers of their own.

use strict;
use warnings;
use KafkaViews;
use Test::More;

my $broker = KafkaViews::Broker->new;
my $node = new_node('original', broker => $broker, init => [ allows_streaming => 1 ]);
my $produced = 0;

open_passage($node, $broker);
sub feed { my ($count) = @_; $broker->produce('input', map { $produced++; '\N' . qq(\t{"id":$produced}) } 1 .. $count); return }
sub query { return $node->safe_psql('postgres', $_[0]) }
sub ids { return join(' ', sort { $a <=> $b } map { /(\d+)/ } $broker->consume('output', format => '%v')) }

feed(5);
wait_for_view($node, 'passed');
$node->backup('base');
my $other = PostgreSQL::Test::Cluster->new('other');
$other->init_from_backup($node, 'base');
$other->start;
my $session = $node->background_psql('postgres', on_error_die => 1);
$session->query_safe('BEGIN; LOCK TABLE passed IN SHARE MODE');
$other->safe_psql('postgres', 'SELECT kafka.adopt()');
for (1 .. 15) { feed(1); wait_for_view($other, 'passed') }
$other->stop;
my $worker = worker_pid($node, 'worker passed');
query('SELECT kafka.adopt(take_over => true)');
wait_until('the redo', sub { query('SELECT count(*) FROM kafka_state.redo') eq '1' });
$session->query_safe('COMMIT');
$session->quit;
feed(1) for 1 .. 5;
wait_for_view($node, 'passed');
is(query('SELECT count(*), sum(id) FROM passed'), join('|', $produced, $produced * ($produced + 1) / 2), 'every record once');
is(ids(), join(' ', 1 .. $produced), 'every message once');

done_testing();
