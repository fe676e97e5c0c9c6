# Two ways to go on under the names that Kafka knows. An old copy of a server whose place another one had taken, which is gone for good, takes it
# back with kafka.adopt(take_over => true): what the other one has published is applied again and not published again. The old server
# itself, which has gone on meanwhile, is refused that: its batches are not those that Kafka has under their numbers. What sessions committed
# to topics on either, while it was replaced, goes out: the other one had it not. A database that gets a
# kafka.instance, and is adopted as its message says, keeps its names in Kafka, so nothing is lost and nothing published twice.

use strict;
use warnings;
use KafkaViews;
use PostgreSQL::Test::RecursiveCopy;
use Test::More;

my $broker = KafkaViews::Broker->new;
my $node = new_node('original', broker => $broker, init => [ allows_streaming => 1 ]);
my $produced = 0;

open_passage($node, $broker);
$broker->create('more', 1, 'retention.ms=-1');
$node->safe_psql('postgres', q{
	CREATE FOREIGN TABLE more (id int) SERVER broker OPTIONS (topic 'more');
	INSERT INTO facts VALUES (0);
});

sub feed
{
	my ($count) = @_;
	$broker->produce('input', map { $produced++; '\N' . qq(\t{"id":$produced}) } 1 .. $count);
	return;
}

sub is_exact
{
	my ($what) = @_;
	is($node->safe_psql('postgres', 'SELECT count(*), sum(id) FROM passed'), join('|', $produced, $produced * ($produced + 1) / 2), "$what: every record once");
	is(join(' ', sort { $a <=> $b } map { /(\d+)/ } $broker->consume('output', format => '%v')), join(' ', 1 .. $produced), "$what: every message once");
	return;
}

sub facts
{
	my ($count) = @_;
	return join ' ', map { /(\d+)/ } wait_for_sink($broker, 'facts', $count, format => '%v');
}

feed(5);
wait_for_view($node, 'passed');
wait_for_sink($broker, 'facts', 1);
wait_until('the fact to be noted', sub { return $node->safe_psql('postgres', 'SELECT published FROM kafka_state.transaction_batch') eq 't' });

# a copy of its files, as a filesystem's snapshot is one
$node->stop;
PostgreSQL::Test::RecursiveCopy::copypath($node->data_dir, $node->data_dir . '_cold');
$node->start;
$node->backup('base');
my $other = PostgreSQL::Test::Cluster->new('other');
$other->init_from_backup($node, 'base');
$other->start;
$other->safe_psql('postgres', 'SELECT kafka.adopt()');
# the first ones may still go out from the original
feed(5);
wait_for_view($other, 'passed');
feed(5);
wait_for_view($other, 'passed');
$other->safe_psql('postgres', 'INSERT INTO facts VALUES (1)');
wait_for_sink($broker, 'facts', 2);
wait_until('the original to be replaced', sub {
	return $node->safe_psql('postgres', 'SELECT publish_error_hint FROM kafka.pipelines') =~ /kafka\.adopt\(take_over => true\)/ });
$node->safe_psql('postgres', 'INSERT INTO facts VALUES (2)');
wait_until('ordinary transactions too', sub { return $node->safe_psql('postgres',
	q{SELECT string_agg(error_hint, '') FROM kafka_state.processes() WHERE kind = 'publisher'}) =~ /kafka\.adopt\(take_over => true\)/ });
$node->safe_psql('postgres', 'INSERT INTO facts VALUES (3)');

# It applies records in batches of its own: what it has of them is not what was published. The last ones of the other server it gets together with more:
# had it cut them alike, it could go on.
$node->safe_psql('postgres', q{SELECT kafka.pause('passed')});
wait_until('the original to pause', sub { return $node->safe_psql('postgres', 'SELECT phase FROM kafka.pipelines') eq 'paused' });
feed(5);
wait_for_view($other, 'passed');
$other->stop('immediate');
feed(5);
$node->safe_psql('postgres', q{SELECT kafka.resume('passed')});
wait_until('the original to apply them', sub { return $node->safe_psql('postgres', 'SELECT count(*) FROM passed') == $produced });
$node->safe_psql('postgres', 'SELECT kafka.adopt(take_over => true)');
wait_until('it to find out', sub { return $node->safe_psql('postgres', 'SELECT publish_error FROM kafka.pipelines') =~ /has gone another way/ });
# it had made a batch of its own of them, under the number that the other one has published
is(facts(4), '0 1 2 3', 'the original: what sessions committed while it was replaced goes out');
$node->stop;

# The snapshot has not: it stands at a moment that the other one has had too. It waits, and goes on from there.
rename $node->data_dir, $node->data_dir . '_parted' or die $!;
rename $node->data_dir . '_cold', $node->data_dir or die $!;
chmod 0700, $node->data_dir or die $!;
$node->start;
wait_until('the snapshot to be replaced', sub {
	return $node->safe_psql('postgres', 'SELECT publish_error_hint FROM kafka.pipelines') =~ /kafka\.adopt\(take_over => true\)/ });
# its publisher asks Kafka before it makes a batch
$node->safe_psql('postgres', 'INSERT INTO facts VALUES (4)');
wait_until('its ordinary transactions too', sub { return $node->safe_psql('postgres',
	q{SELECT string_agg(error_hint, '') FROM kafka_state.processes() WHERE kind = 'publisher'}) =~ /kafka\.adopt\(take_over => true\)/ });
$node->safe_psql('postgres', 'SELECT kafka.adopt(take_over => true)');
$node->safe_psql('postgres', 'INSERT INTO facts VALUES (5)');
wait_for_view($node, 'passed');
is_exact('taken over');
is(facts(6), '0 1 2 3 4 5', 'taken over: what sessions committed meanwhile goes out, and ordinary transactions go on');

# the names stay, so the batch that waits goes out under them, once
$broker->stop;
$node->safe_psql('postgres', q{SELECT kafka.attach_sink('passed', 'more')});
$node->append_conf('postgresql.conf', "kafka.instance = 'ha'");
$node->restart;
wait_until('another name to be noticed', sub { return $node->safe_psql('postgres',
	q{SELECT error_detail FROM kafka_state.processes() WHERE kind = 'supervisor'}) =~ /kafka\.instance is "ha"/ });
$broker->start;
$node->safe_psql('postgres', 'SELECT kafka.adopt()');
feed(5);
$node->safe_psql('postgres', 'INSERT INTO facts VALUES (6)');
wait_for_view($node, 'passed');
is_exact('under kafka.instance');
is(join(' ', sort { $a <=> $b } map { /(\d+)/ } wait_for_sink($broker, 'more', $produced, format => '%v')), join(' ', 1 .. $produced),
	'under kafka.instance: what waited goes out once');
is(facts(7), '0 1 2 3 4 5 6', 'under kafka.instance: ordinary transactions too');

done_testing();
