# A topic that was deleted and created again is another one. Where that can be seen, because it is shorter than what was read or has
# fewer partitions, the pipeline stands still and says what can be done, and its view stays as it is. So it does where records are deleted
# before it has read them. What is said helps.
use strict;
use warnings;
use KafkaViews;
use Test::More;

my $broker = KafkaViews::Broker->shared;
my $node = new_node('main', broker => $broker);
my @topics = qw(again_shorter again_narrower);

for my $topic (@topics)
{
	$broker->create($topic, 2, 'retention.ms=-1');
	$broker->produce($topic, map { "partition=${\ ($_ % 2)} k\t{\"id\": $_}" } 1 .. 10);
	$node->safe_psql('postgres', "CREATE FOREIGN TABLE of_$topic (id int) SERVER broker OPTIONS (topic '$topic');
		CREATE MATERIALIZED VIEW $topic WITH (kafka.continuous) AS SELECT id FROM of_$topic");
}
wait_for_view($node, $_) for @topics;
$node->stop;
$broker->delete(@topics);
$broker->create('again_shorter', 2, 'retention.ms=-1');
$broker->create('again_narrower', 1, 'retention.ms=-1');
$broker->produce($_, map { "partition=0 k\t{\"id\": $_}" } 11 .. 17) for @topics;
$node->start;

# waits for the error of a pipeline and gives it with its detail and hint
sub error_of
{
	my ($topic) = @_;

	return wait_until("an error of $topic",
		sub { return $node->safe_psql('postgres', "SELECT concat_ws(' ', error, error_hint) FROM kafka.pipelines WHERE pipeline = '$topic' AND error IS NOT NULL") });
}

like(error_of('again_shorter'), qr/topic "again_shorter" partition 1 ends before the position .*deleted and created again/, 'a shorter topic is not read on');
like(error_of('again_narrower'), qr/topic "again_narrower" has no partition 1 any more.*deleted and created again/, 'nor is one with fewer partitions');
is($node->safe_psql('postgres', "SELECT count(*), max(id) FROM $_"), '10|10', "$_ stays as it is") for @topics;

# what the hints say helps
sub create_again
{
	my ($topic, $expected) = @_;

	$node->safe_psql('postgres', "DROP MATERIALIZED VIEW $topic; CREATE MATERIALIZED VIEW $topic WITH (kafka.continuous) AS SELECT id FROM of_$topic");
	wait_for_view($node, $topic);
	is($node->safe_psql('postgres', "SELECT count(*), min(id), max(id) FROM $topic"), $expected, "$topic is created again, as the hint says");
	return;
}
create_again($_, '7|11|17') for @topics;

# records that are deleted while the pipeline stands, before it has read them
my $worker = kill_worker($node, 'kafka_views worker again_shorter', 'STOP');
$broker->produce('again_shorter', "partition=0 k\t{\"id\": $_}") for 18 .. 20;
$broker->trim('again_shorter');
$broker->produce('again_shorter', map { "partition=0 k\t{\"id\": $_}" } 21 .. 25);
kill 'CONT', $worker;
like(error_of('again_shorter'), qr/(no longer has the records|were deleted before pipeline).*Drop the views of the pipeline and create them again/, 'deleted records are missed');
unlike($node->safe_psql('postgres', 'SELECT max(id) FROM again_shorter'), qr/2[1-5]/, 'and nothing behind them is read');
create_again('again_shorter', '5|21|25');

$node->stop;
done_testing();
