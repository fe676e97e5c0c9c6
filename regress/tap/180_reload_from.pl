# A reload begins no earlier than the buffers of a join need: records that a topic has deleted because they were too old do not keep a pipeline from
# going on after a crash, whether they came in one batch with all that was there when the view was made, or one by one.

use strict;
use warnings;
use KafkaViews;
use Test::More;

my $broker = KafkaViews::Broker->new;
my $node = new_node('main', broker => $broker);
my $now_ms = time() * 1000;
my $day_ms = 24 * 60 * 60 * 1000;

sub query { return $node->safe_psql('postgres', $_[0]) }

# An order and a payment each half day for ten days; the last ones are of now, and have the number 20.
sub records { my ($id) = @_; my $at = $now_ms - (20 - $id) * $day_ms / 2; return "partition=0 ts=$at k\t{\"id\":$id,\"at\":$at}" }

sub create
{
	my ($name) = @_;
	return query(<<~"SQL");
		CREATE FOREIGN TABLE orders_$name (id bigint, at timestamptz) SERVER broker OPTIONS (topic 'orders_$name', event_time 'at');
		CREATE FOREIGN TABLE payments_$name (id bigint, at timestamptz) SERVER broker OPTIONS (topic 'payments_$name', event_time 'at');
		CREATE MATERIALIZED VIEW $name WITH (kafka.continuous, kafka.grace = '0') AS
		  SELECT o.id, p.at FROM orders_$name o JOIN payments_$name p ON p.id = o.id AND p.at BETWEEN o.at AND o.at + interval '5 days';
		SQL
}

# what they keep is a day longer than what joins need, so they are trusted with the buffers; the trim below is for what a broker does when a segment is over
$broker->create($_, 1, 'retention.ms=' . 7 * $day_ms, 'segment.bytes=100000000') for qw(orders_together payments_together orders_single payments_single);
for my $topic (qw(orders_together payments_together))
{
	$broker->produce($topic, map { records($_) } 0 .. 20);
}
create('together');
wait_for_view($node, 'together');
create('single');
for my $id (0 .. 20)
{
	$broker->produce($_, records($id)) for qw(orders_single payments_single);
	wait_for_view($node, 'single');
}
is(query("SELECT count(*) FROM unnest('{together,single}'::regclass[]) v, kafka.explain(v) e WHERE e.title LIKE 'unlogged buffer of %'"), 4,
	'the topics are trusted with the buffers');

query('CHECKPOINT');
$node->kill9;
# what is older than 7 days
$broker->trim($_, 6) for qw(orders_together payments_together orders_single payments_single);
restart_after_crash($node);
for my $name (qw(together single))
{
	# of order 11, which is 4 days and a half old, and of 9, which is too old
	my $at = $now_ms;
	$broker->produce("payments_$name", map { $at++; "partition=0 ts=$at k\t{\"id\":$_,\"at\":$at}" } 11, 9);
	wait_until("the pipeline to go on: $name", sub { query("SELECT state FROM kafka.pipelines WHERE pipeline = '$name'") eq 'failed' ||
		query("SELECT kafka.wait_for_view('$name', interval '1 s')") eq 't' });
	is(query("SELECT error FROM kafka.pipelines WHERE pipeline = '$name'"), '', "$name: the topic has what the buffers need");
	is(query("SELECT string_agg(id::text, ' ' ORDER BY id) FROM $name WHERE at > to_timestamp($now_ms / 1000.0)"), '11', "$name: and they have it");
}
done_testing();
