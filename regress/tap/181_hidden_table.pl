# Before a view's first record of a stream the tables that it looks up are read to their ends. Where a transaction is open in one, readers see nothing of what is
# behind its beginning, whoever has written that; so the end is waited for, and no record of the stream goes without a row that was there.

use strict;
use warnings;
use IPC::Run ();
use KafkaViews;
use Test::More;

my $broker = KafkaViews::Broker->new;
my $node = new_node('main', broker => $broker, conf => "kafka.idle_timeout = '300ms'");

sub query { return $node->safe_psql('postgres', $_[0]) }
sub hide
{
	my ($line, $already) = @_;
	my ($input, $output, $error) = ("$line\n", '', '');
	my $producer = IPC::Run::start([ "$ENV{KV_ROOT}/regress/tools/kv_kafka", '-b', $broker->address, 'produce', 'names', '--transaction', 'long' ], \$input, \$output, \$error);
	wait_until('the transaction to have written', sub { $producer->pump_nb; $broker->consume('names', isolation => 'read_uncommitted') == $already + 1 });
	return $producer;
}

$broker->create($_, 1, 'retention.ms=-1') for qw(names events);
$broker->produce('names', qq(1\t{"name":"one"}));
my $producer = hide(qq(2\t{"name":"two"}), 1);
$broker->produce('names', qq(3\t{"name":"three"}));
$broker->produce('events', map { qq(k\t{"id":$_}) } 1 .. 4);
query(<<~'SQL');
	CREATE FOREIGN TABLE names (id int OPTIONS (key 'true'), name text) SERVER broker OPTIONS (topic 'names', mode 'upsert');
	CREATE FOREIGN TABLE events (id int) SERVER broker OPTIONS (topic 'events');
	CREATE MATERIALIZED VIEW named WITH (kafka.continuous) AS SELECT e.id, n.name FROM events e LEFT JOIN names n ON n.id = e.id;
	SQL
wait_until('the pipeline to say what it waits for', sub { query('SELECT error FROM kafka.pipelines') eq 'a transaction is open in topic "names" partition 0' ||
	query('SELECT count(*) FROM named') > 0 });
is(query('SELECT count(*) FROM named'), 0, 'no record of the stream is applied meanwhile');
is(query('SELECT error_detail FROM kafka.pipelines'), 'Nobody sees what was written there since it began, so streams wait for the end of this table.', 'and why');
$producer->finish or die 'kv_kafka failed';

wait_for_view($node, 'named');
is(query('TABLE named ORDER BY id'), "1|one\n2|two\n3|three\n4|", 'they find all rows of the table');

# where it began already, nobody waits
$producer = hide(qq(4\t{"name":"four"}), 3);
$broker->produce('events', qq(k\t{"id":5}));
wait_until('the record', sub { query('SELECT count(*) FROM named') == 5 });
is(query('SELECT name IS NULL FROM named WHERE id = 5'), 't', 'later a stream does not wait for tables');
$producer->finish;
done_testing();
