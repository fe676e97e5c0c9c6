# A backup of a server is started beside it under the same kafka.instance, on the same timeline: nothing tells it from a restore. It publishes, and the
# original, which has made batches of its own meanwhile, must not take those of the copy for its own because their numbers are the same.
# It stops, says so after a restart too, and by the hint goes on under another name.

use strict;
use warnings;
use KafkaViews;
use PostgreSQL::Test::Utils;
use Test::More;

my $broker = KafkaViews::Broker->new;
my $node = new_node('original', broker => $broker, conf => "kafka.instance = 'twice'", init => [ allows_streaming => 1 ]);
my $replaced = qr/^pipeline "passed" is published by a server that has taken the place of this one$/;

sub feed { $broker->produce('input', map { '\N' . qq(\t{"id":$_}) } @_); return }
sub ids { return join ' ', map { /(\d+)/ } $broker->consume('output', format => '%v') }
sub error_of { my ($where) = @_; return $where->safe_psql('postgres', 'SELECT publish_error FROM kafka.pipelines') }

$broker->create($_, 1, 'retention.ms=-1') for qw(input output);
$node->safe_psql('postgres', q{
	CREATE FOREIGN TABLE input (id int) SERVER broker OPTIONS (topic 'input');
	CREATE FOREIGN TABLE output (id int) SERVER broker OPTIONS (topic 'output');
	BEGIN;
	CREATE MATERIALIZED VIEW passed WITH (kafka.continuous) AS SELECT id FROM input;
	SELECT kafka.attach_sink('passed', 'output');
	COMMIT;
});
feed(1, 2);
wait_for_view($node, 'passed');
$node->backup('base');

# the original has a batch that is not out when the copy comes
kill_worker($node, 'publisher', 'STOP');
feed(3, 4);
wait_until('a batch of the original', sub { $node->safe_psql('postgres', 'SELECT count(*) FROM passed') eq '4' });
my $copy = PostgreSQL::Test::Cluster->new('copy');
$copy->init_from_backup($node, 'base');
$copy->start;
wait_for_view($copy, 'passed');
is(ids(), '1 2 3 4', 'the copy publishes');
kill_worker($node, 'publisher', 'CONT');
wait_until('the original to see it', sub { error_of($node) =~ $replaced });
$node->restart;
wait_until('the original to see it again', sub { error_of($node) =~ $replaced });
$node->safe_psql('postgres', q{SELECT kafka.resume('passed')});
feed(5);
wait_for_view($copy, 'passed');
wait_until('it to look again', sub { error_of($node) =~ $replaced });
is(ids(), '1 2 3 4 5', 'resumed by mistake it publishes nothing');
is(error_of($copy), '', 'and does not disturb the copy');

$node->safe_psql('postgres', 'SELECT kafka.fork()');
wait_for_view($node, 'passed');
is($_->safe_psql('postgres', q{SELECT string_agg(id::text, ' ' ORDER BY id) FROM passed}), '1 2 3 4 5', $_->name . ' has every record once') for $node, $copy;
like(ids(), qr/^1 2 3 4 5( \d)* 5$/, 'the hint followed: the original publishes what it had waiting, as somebody else');
feed(6);
wait_for_view($_, 'passed') for $node, $copy;
like(ids(), qr/ 6 6$/, 'and both go on');

done_testing();
