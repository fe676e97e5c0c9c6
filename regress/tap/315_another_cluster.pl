# A server is altered and leads to another Kafka cluster, whose topics have the same names. Nothing of it is read and nothing is published there: the
# pipeline stands still and says so. Each of the hint's ways works: set the server back, go on in a cluster that has the same records
# at the same offsets, create the view again. What ordinary transactions write goes where the server leads.

use strict;
use warnings;
use KafkaViews;
use PostgreSQL::Test::Utils;
use Test::More;

my @brokers = map { KafkaViews::Broker->new } 1, 2;
my $node = new_node('main', broker => $brokers[0]);

sub sql { return $node->safe_psql('postgres', $_[0]) }
sub feed { my ($broker, @ids) = @_; $broker->produce('input', map { '\N' . qq(\t{"id":$_}) } @ids); return }
sub ids { my ($broker, $topic) = @_; return join ' ', map { /(\d+)/ } $broker->consume($topic, format => '%v') }
sub rows { return sql(q{SELECT string_agg(id::text, ' ' ORDER BY id) FROM passed}) }
sub lead_to { my ($broker) = @_; sql(sprintf q{ALTER SERVER broker OPTIONS (SET bootstrap_servers '%s')}, $broker->address); return }

sub check_stops
{
	my ($what) = @_;

	for my $column (qw(error publish_error))
	{
		wait_until("$what: the $column", sub { return sql("SELECT $column FROM kafka.pipelines") =~
			/^server "broker" leads to another Kafka cluster than the one that pipeline "passed" has read$/ });
	}
	return;
}

open_passage($node, $brokers[0]);
$brokers[1]->create($_, 1, 'retention.ms=-1') for qw(input output facts);
sql('INSERT INTO facts VALUES (1)');
feed($brokers[0], 1 .. 3);
feed($brokers[1], 100 .. 110);
wait_for_view($node, 'passed');
wait_for_sink($brokers[0], 'facts', 1);

lead_to($brokers[1]);
check_stops('altered');
is(rows(), '1 2 3', 'nothing of the other cluster is read');
sql('INSERT INTO facts VALUES (2)');
wait_for_sink($brokers[1], 'facts', 1);
is(ids($brokers[1], 'facts'), '2', 'ordinary transactions go where the server leads');
$node->restart;
check_stops('started again');

lead_to($brokers[0]);
feed($brokers[0], 4);
wait_for_view($node, 'passed');
is(rows(), '1 2 3 4', 'set back: it goes on');
is(ids($brokers[0], 'output'), '1 2 3 4', 'and publishes');

# the other cluster gets the records of this one, as a link or a restored disk has them
$brokers[1]->delete('input');
wait_until('the topic to be gone', sub { return $brokers[1]->kv_kafka('', 'topics') !~ /^input\t/m });
$brokers[1]->create('input', 1, 'retention.ms=-1');
feed($brokers[1], 1 .. 4);
lead_to($brokers[1]);
check_stops('the same records');
my ($statement) = sql('SELECT error_hint FROM kafka.pipelines') =~ /at the same offsets: (SELECT kafka\.resume\(.*?\))\./;
sql($statement);
feed($brokers[1], 5);
wait_for_view($node, 'passed');
is(rows(), '1 2 3 4 5', 'the hint followed: it goes on there');
is(ids($brokers[1], 'output'), '5', 'and publishes there');

lead_to($brokers[0]);
check_stops('back again');
sql('DROP MATERIALIZED VIEW passed; CREATE MATERIALIZED VIEW passed WITH (kafka.continuous) AS SELECT id FROM input');
wait_for_view($node, 'passed');
is(rows(), '1 2 3 4', 'created again it reads the other one from its start');

done_testing();
