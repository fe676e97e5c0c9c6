# A backup of a server is started beside it under the same kafka.instance, on the same timeline: nothing tells it from a restore. It publishes, and the
# original, which has made batches of its own meanwhile, must not take those of the copy for its own because their numbers are the same.
# It stops, says so after a restart too, and by the hint goes on under another name. So do ordinary transactions.

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
sub facts { my ($count) = @_; return join ' ', map { /(\d+)/ } wait_for_sink($broker, 'facts', $count, format => '%v') }

# The publisher of ordinary transactions has stopped, and says why.
sub is_replaced
{
	my ($where) = @_;
	return $where->safe_psql('postgres', q{SELECT string_agg(error, '') FROM kafka_state.processes() WHERE kind = 'publisher'}) =~
	  /^messages of ordinary transactions are published to server "broker" by a server that has taken the place of this one$/;
}

sub error_of { my ($where) = @_; return $where->safe_psql('postgres', 'SELECT publish_error FROM kafka.pipelines') }

$broker->create($_, 1, 'retention.ms=-1') for qw(input output facts);
$node->safe_psql('postgres', q{
	CREATE FOREIGN TABLE input (id int) SERVER broker OPTIONS (topic 'input');
	CREATE FOREIGN TABLE output (id int) SERVER broker OPTIONS (topic 'output');
	CREATE FOREIGN TABLE facts (id int) SERVER broker OPTIONS (topic 'facts');
	INSERT INTO facts VALUES (0);
	BEGIN;
	CREATE MATERIALIZED VIEW passed WITH (kafka.continuous) AS SELECT id FROM input;
	SELECT kafka.attach_sink('passed', 'output');
	COMMIT;
});
feed(1, 2);
wait_for_view($node, 'passed');
wait_until('the fact to be noted', sub { $node->safe_psql('postgres', 'SELECT published FROM kafka_state.transaction_batch') eq 't' });
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
$copy->safe_psql('postgres', 'INSERT INTO facts VALUES (1)');
is(facts(2), '0 1', 'of ordinary transactions too');
$node->safe_psql('postgres', 'INSERT INTO facts VALUES (2)');
kill_worker($node, 'publisher', 'CONT');
wait_until('the original to see it', sub { error_of($node) =~ $replaced });
wait_until('its ordinary transactions too', sub { is_replaced($node) });
$node->restart;
wait_until('its ordinary transactions to see it again', sub { is_replaced($node) });
wait_until('the original to see it again', sub { error_of($node) =~ $replaced });
$node->safe_psql('postgres', q{SELECT kafka.resume('passed')});
feed(5);
wait_for_view($copy, 'passed');
wait_until('it to look again', sub { error_of($node) =~ $replaced });
is(ids(), '1 2 3 4 5', 'resumed by mistake it publishes nothing');
is(error_of($copy), '', 'and does not disturb the copy');
$copy->safe_psql('postgres', 'INSERT INTO facts VALUES (3)');
is(facts(3), '0 1 3', 'nor its ordinary transactions');

$node->safe_psql('postgres', 'SELECT kafka.fork()');
wait_for_view($node, 'passed');
is($_->safe_psql('postgres', q{SELECT string_agg(id::text, ' ' ORDER BY id) FROM passed}), '1 2 3 4 5', $_->name . ' has every record once') for $node, $copy;
is(facts(4), '0 1 3 2', 'the hint followed: what sessions committed on the original goes out');
like(ids(), qr/^1 2 3 4 5( \d)* 5$/, 'the hint followed: the original publishes what it had waiting, as somebody else');
feed(6);
wait_for_view($_, 'passed') for $node, $copy;
like(ids(), qr/ 6 6$/, 'and both go on');

# A snapshot of the disk has the inodes of the original too, so it is at the same place: what tells it is that somebody has fenced the original, and who.
$copy->stop;
wait_until('the facts to be noted', sub { $node->safe_psql('postgres', 'SELECT published FROM kafka_state.transaction_batch') eq 't' });
$node->backup('twin');
my $twin = PostgreSQL::Test::Cluster->new('twin');
$twin->init_from_backup($node, 'twin');
$node->stop;
unlink $twin->data_dir . '/PG_VERSION' or die $!;
link $node->data_dir . '/PG_VERSION', $twin->data_dir . '/PG_VERSION' or die $!;
$node->start;
$node->safe_psql('postgres', 'INSERT INTO facts VALUES (10)');
is(facts(5), '0 1 3 2 10', 'started again, the original publishes');
$twin->start;
$twin->safe_psql('postgres', 'INSERT INTO facts VALUES (11)');
is(facts(6), '0 1 3 2 10 11', 'so does a snapshot of it');
my ($here, $there) = map { $_->safe_psql('postgres', 'SELECT made_in FROM kafka_state.transaction_batch') } $node, $twin;
is($there, $here, 'which is at the same place');
$node->safe_psql('postgres', 'INSERT INTO facts VALUES (12)');
wait_until('the original to find out who has fenced it', sub { is_replaced($node) });
$twin->safe_psql('postgres', 'INSERT INTO facts VALUES (13)');
is(facts(7), '0 1 3 2 10 11 13', 'the snapshot goes on');
$twin->stop('immediate');
$node->safe_psql('postgres', 'SELECT kafka.adopt(take_over => true)');
is(facts(8), '0 1 3 2 10 11 13 12', 'the hint followed, when it is gone: what sessions committed on the original goes out');

done_testing();
