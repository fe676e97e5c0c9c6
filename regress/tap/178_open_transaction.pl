# Where a transaction of a producer is open in a partition, consumers see nothing of what it has written, nor of what anybody has written behind it: to them
# the partition ends there. It has more than they can tell, so it is not idle: it holds the views' time back until the transaction has ended,
# kafka.pipelines says so, and none of its rows is late then.

use strict;
use warnings;
use IPC::Run ();
use KafkaViews;
use Test::More;

my $broker = KafkaViews::Broker->new;
my $node = new_node('main', broker => $broker, conf => "kafka.idle_timeout = '300ms'");

sub query { return $node->safe_psql('postgres', $_[0]) }
sub windows
{
	return query("SELECT string_agg(format('%s-%s:%s', extract(second FROM lower(during))::int, extract(second FROM upper(during))::int, n), ' ' ORDER BY during) FROM windows");
}
sub event { my ($partition, $second) = @_; return qq(partition=$partition k\t{"at":"2024-01-01 00:00:$second+00"}) }

$broker->create('open', 2, 'retention.ms=-1');
$broker->produce('open', event(0, '01'), event(1, '02'));
my $input = event(1, '04') . "\n";
my ($output, $error) = ('', '');
my $producer = IPC::Run::start([ "$ENV{KV_ROOT}/regress/tools/kv_kafka", '-b', $broker->address, 'produce', 'open', '--transaction', 'long' ], \$input, \$output, \$error);
wait_until('the transaction to have written', sub { $producer->pump_nb; $broker->consume('open', partition => 1, isolation => 'read_uncommitted') == 2 });
$broker->produce('open', event(1, '05'));    # of another producer, and hidden by it

# only now, so that the partition is never seen without the transaction
query(<<~'SQL');
	CREATE FOREIGN TABLE events (at timestamptz) SERVER broker OPTIONS (topic 'open', event_time 'at');
	CREATE MATERIALIZED VIEW windows WITH (kafka.continuous, kafka.grace = '0') AS
	  SELECT kafka.tumble(at, '10 s') AS during, count(*) AS n FROM events GROUP BY during;
	SQL
wait_until('the first records', sub { windows() eq '0-10:2' });
my $open = 'a transaction is open in topic "open" partition 1';
wait_until('the pipeline to say what it waits for', sub { query('SELECT error FROM kafka.pipelines') eq $open });

for my $second (30 .. 33)
{
	$broker->produce('open', event(0, $second));
	wait_until('the record to be counted', sub { windows() eq '0-10:2 30-40:' . ($second - 29) });
}

is(query('SELECT error FROM kafka.pipelines'), $open, 'the pipeline says what it waits for, beside records that come');
cmp_ok(query('SELECT extract(epoch FROM coalesce(max(frontier), timestamptz \'2024-01-01 00:00:00+00\') - timestamptz \'2024-01-01 00:00:00+00\')::int FROM kafka.views'),
	'<=', 2, 'time stands where the partition is');

$producer->finish or die "kv_kafka: $error";
wait_for_view($node, 'windows');
is(windows(), '0-10:4 30-40:4', 'none of its rows is late');
is(query('SELECT late_rows FROM kafka.views'), '0', 'and nothing was');
wait_until('the error to be over', sub { query('SELECT error IS NULL FROM kafka.pipelines') eq 't' });
done_testing();
