# A topic that ordinary transactions write to is deleted, and with it what Kafka knew of how far they are out. A batch that then cannot go out, for want of
# the topic, is known not to be out by the process that has tried: it goes out by itself once the topic is there again, or has fewer partitions, and nobody
# is asked. Where a commit was under way, or another process has tried, that is not known, and a person decides (tap/304).

use strict;
use warnings;
use KafkaViews;
use PostgreSQL::Test::Utils;
use Test::More;

my $broker = KafkaViews::Broker->new;
my $node = new_node('main', broker => $broker);

sub ids { my ($topic) = @_; return join ' ', sort { $a <=> $b } map { /"id":(\d+)/ } $broker->consume($topic, format => '%v') }

$broker->create($_, 4, 'retention.ms=-1') for qw(facts others);
$node->safe_psql('postgres', qq{CREATE FOREIGN TABLE $_ (id int OPTIONS (key 'true')) SERVER broker OPTIONS (topic '$_')}) for qw(facts others);
$node->safe_psql('postgres', 'INSERT INTO facts VALUES (1)');
wait_for_sink($broker, 'facts', 1);
wait_until('it to be noted', sub { $node->safe_psql('postgres', 'SELECT published FROM kafka_state.transaction_batch') eq 't' });

$broker->delete('facts');
$node->safe_psql('postgres', 'BEGIN; INSERT INTO facts VALUES (2); INSERT INTO others VALUES (2); COMMIT');
wait_until('the publisher to say that it waits', sub { $node->safe_psql('postgres', q{SELECT publish_error FROM kafka.topics WHERE topic = 'facts'}) });
$broker->create('facts', 4, 'retention.ms=-1');
wait_for_sink($broker, $_, 1) for qw(facts others);
is(ids($_), '2', "$_: what waited goes out once, when the topic is there") for qw(facts others);
wait_until('it to be noted', sub { $node->safe_psql('postgres', 'SELECT published FROM kafka_state.transaction_batch') eq 't' });

# with fewer partitions than it had a moment ago
$broker->delete('facts');
$broker->create('facts', 1, 'retention.ms=-1');
$node->safe_psql('postgres', 'INSERT INTO facts SELECT generate_series(3, 20); INSERT INTO others VALUES (3)');
wait_for_sink($broker, 'facts', 18);
wait_for_sink($broker, 'others', 2);
is(ids('facts'), join(' ', 3 .. 20), 'with fewer partitions, too');
is(ids('others'), '2 3', 'and what goes elsewhere');
done_testing();
