# What a Kafka user needs where Kafka has access control: with the rights that the manual lists, and no others on these topics, groups and
# transactional ids, everything goes out; where one is missing, the hint of the error names it.
#
# The broker has one user, who is what runs the broker too. It may do everything to a resource about which no rule says anything, and so a rule about
# a topic is all there is for that topic.

use strict;
use warnings;
use KafkaViews;
use PostgreSQL::Test::Utils;
use Test::More;

my $properties = PostgreSQL::Test::Utils::tempdir('properties') . '/properties';
append_to_file($properties, "authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer\nallow.everyone.if.no.acl.found=true\n");
local $ENV{KAFKA_PROPERTIES} = $properties;
my $broker = KafkaViews::Broker->new;
my $node = new_node('main', broker => $broker, conf => "kafka.instance = 'one'");

# Adds a rule: this is allowed, and nothing that no rule allows.
sub allow
{
	my ($operation, @resource) = @_;
	my ($libs) = glob "$ENV{KV_ROOT}/.kafka/kafka-*/libs";

	run_log([ 'java', '-cp', "$libs/*", 'org.apache.kafka.tools.AclCommand', '--bootstrap-server', $broker->address, '--force', '--add',
		'--allow-principal', 'User:ANONYMOUS', map({ ('--operation', $_) } split / /, $operation), @resource ]) or die 'no such rule';
	return;
}

sub wait_for_hint
{
	my ($query, $hint) = @_;

	wait_until("the hint about $hint", sub { return $node->safe_psql('postgres', $query) =~ /Grant the Kafka user of the user mapping $hint on the topic/ });
	pass("the hint names $hint");
	return;
}

open_passage($node, $broker);
allow('Read DescribeConfigs', '--topic', 'input');
allow('Describe', '--topic', 'facts', '--topic', 'output');
allow('Read', '--group', 'one.', '--resource-pattern-type', 'prefixed');
allow('Write', '--transactional-id', 'one.', '--resource-pattern-type', 'prefixed');

my $of_facts = q{SELECT publish_error_hint FROM kafka.topics WHERE topic = 'facts'};
$node->safe_psql('postgres', 'INSERT INTO facts VALUES (1)');
wait_for_hint($of_facts, 'Read');
allow('Read', '--topic', 'facts');
wait_for_hint($of_facts, 'Write');
allow('Write', '--topic', 'facts');
wait_for_sink($broker, 'facts', 1);

# kv_kafka may write to the input no more than the pipeline
allow('Write', '--topic', 'input');
$broker->produce('input', qq(\\N\t{"id":1}));
wait_for_hint(q{SELECT error_hint FROM kafka.sinks WHERE relation = 'passed'::regclass}, 'Write');
allow('Write', '--topic', 'output');
wait_for_view($node, 'passed');
pass('with the rights of the manual everything goes out');
done_testing();
