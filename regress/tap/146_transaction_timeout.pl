# The publisher stands still in the middle of its Kafka transactions for longer than the broker lets one live: the broker aborts them and fences
# the producers. That is no other server's doing, so the publisher opens new ones and goes on by itself, and everything is out exactly once.
#
# The odd set-up is what makes it the middle: each batch has a message for a second broker, which hangs, so it cannot be over before the
# publisher is stopped; then the broker goes on, so that nothing but the timeout is in the way.

use strict;
use warnings;
use KafkaViews;
use PostgreSQL::Test::Utils;
use Test::More;

my $properties = PostgreSQL::Test::Utils::tempdir('properties') . '/properties';
append_to_file($properties, "transaction.abort.timed.out.transaction.cleanup.interval.ms=500\ntransaction.max.timeout.ms=10000\n");
local $ENV{KAFKA_PROPERTIES} = $properties;
my $broker = KafkaViews::Broker->new;
my $node = new_node('main', broker => $broker);
my @topics = qw(near far near_facts far_facts);

sub query { return $node->safe_psql('postgres', $_[0]) }

sub ids { my ($topic, $isolation) = @_; return join ' ', map { /(\d+)/ } $broker->consume($topic, format => '%v', isolation => $isolation // 'read_committed') }

# One more record for the pipeline, and one more transaction of a session.
sub feed
{
	my ($id) = @_;

	$broker->produce('input', qq(\\N\t{"id":$id}));
	query("BEGIN; INSERT INTO near_facts VALUES ($id); INSERT INTO far_facts VALUES ($id); COMMIT");
	return;
}

sub wait_for_all
{
	my ($last) = @_;

	for my $topic (@topics)
	{
		wait_until("$last records in $topic", sub { return ids($topic) =~ /\b$last\b/ });
		is(ids($topic), join(' ', 1 .. $last), "$topic has $last records, each once");
	}
	return;
}

$broker->create($_, 1, 'on=1') for qw(input near near_facts);
query("CREATE FOREIGN TABLE $_ (id int) SERVER broker OPTIONS (topic '$_')") for 'input', @topics;
# a broker that lets no transaction live as long as we ask for
query('INSERT INTO near_facts VALUES (1)');
wait_until('the publisher to say so', sub { return query(q{SELECT publish_error_hint FROM kafka.topics WHERE topic = 'near_facts'}) =~ /Set option transaction_timeout_ms/ });
query("ALTER SERVER broker OPTIONS (ADD transaction_timeout_ms '5000')");
wait_until('the message', sub { return ids('near_facts') eq '1' });
# the coordinators of transactions and groups come to be on the first broker, the only one so far
query(<<~'SQL');
	BEGIN;
	CREATE MATERIALIZED VIEW v WITH (kafka.continuous) AS SELECT id FROM input;
	CREATE TRIGGER near AFTER INSERT ON v REFERENCING NEW TABLE AS new FOR EACH STATEMENT EXECUTE FUNCTION kafka.publish('near');
	COMMIT;
	SQL
$broker->produce('input', qq(\\N\t{"id":1}));
wait_until('the first record', sub { return ids('near') eq '1' });

my $second = $broker->second;
query("ALTER SERVER broker OPTIONS (SET bootstrap_servers '" . $broker->address . ',' . $second->address . "')");
$broker->create($_, 1, 'on=2') for qw(far far_facts);
query('CREATE TRIGGER far AFTER INSERT ON v REFERENCING NEW TABLE AS new FOR EACH STATEMENT EXECUTE FUNCTION kafka.publish(\'far\')');
$broker->produce($_, qq(\\N\t{"id":1})) for qw(far far_facts);
feed(2);
wait_for_all(2);

for my $last (3, 4)
{
	$second->freeze;
	feed($last);
	wait_until('the transactions to be open', sub { return ids('near', 'read_uncommitted') =~ /$last/ && ids('near_facts', 'read_uncommitted') =~ /$last/ });
	my $publisher = kill_worker($node, 'publisher', 'STOP');
	$second->thaw;
	$broker->kv_kafka('', 'settle', qw(near near_facts));
	is(ids('near') . ', ' . ids('near_facts'), join(', ', (join ' ', 1 .. $last - 1) x 2), 'the broker has aborted the transactions');
	kill 'CONT', $publisher;
	wait_for_all($last);
	is(worker_pid($node, 'publisher'), $publisher, 'it is the same process that has gone on');
	wait_until('no error to be left', sub { return query('SELECT count(publish_error) FROM kafka.pipelines') eq '0' });
}
feed(5);
wait_for_all(5);
like(slurp_file($node->logfile), qr/could not .* on server "broker"/, 'the log has it');
note(join "\n", grep { /librdkafka|could not/ } split /\n/, slurp_file($node->logfile));

done_testing();
