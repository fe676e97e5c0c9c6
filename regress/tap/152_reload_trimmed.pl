# While Postgres is down after a crash, a topic loses records that an unlogged buffer of a join had. The buffer cannot be what it was, so the pipeline
# stops and says so: without them pairs would be missing and nobody would know. The view and its sink stay as they are, other pipelines go on, and the
# hint helps: views that are created again read what the topic has now, and go on from there.

use strict;
use warnings;
use KafkaViews;
use Test::More;

my $broker = KafkaViews::Broker->new;
my $node = new_node('main', broker => $broker);
my $now_ms = time() * 1000;
my $create = <<~'SQL';
	BEGIN;
	CREATE MATERIALIZED VIEW paid WITH (kafka.continuous) AS
	  SELECT o.id, p.at FROM orders o JOIN payments p ON p.id = o.id AND p.at BETWEEN o.at AND o.at + interval '1 hour';
	SELECT kafka.attach_sink('paid', 'emails');
	COMMIT;
	SQL

sub query { return $node->safe_psql('postgres', $_[0]) }
sub ids { return join ' ', sort { $a <=> $b } map { /"id":(\d+)/ } $broker->consume('emails', format => '%v') }
sub produce { my ($topic, @ids) = @_; $broker->produce($topic, map { "partition=0 ts=$now_ms k\t{\"id\":$_,\"at\":$now_ms}" } @ids); return }
sub pipeline { my ($columns) = @_; return query("SELECT $columns FROM kafka.pipelines WHERE pipeline = 'paid'") }

$broker->create($_, 1, 'retention.ms=-1') for qw(orders payments emails);
query(<<~"SQL");
	CREATE FOREIGN TABLE orders (id bigint, at timestamptz) SERVER broker OPTIONS (topic 'orders', event_time 'at');
	CREATE FOREIGN TABLE payments (id bigint, at timestamptz) SERVER broker OPTIONS (topic 'payments', event_time 'at');
	CREATE FOREIGN TABLE emails (id bigint, at timestamptz) SERVER broker OPTIONS (topic 'emails');
	CREATE MATERIALIZED VIEW counted WITH (kafka.continuous) AS SELECT count(*) AS n FROM payments;
	$create
	SQL
produce('orders', 1 .. 3);
produce('payments', 1);
wait_for_view($node, $_) for qw(paid counted);
is(query(q(SELECT string_agg(title, ', ' ORDER BY title) FROM kafka.explain('paid') WHERE phase = 'buffer')),
	'unlogged buffer of orders, unlogged buffer of payments', 'the topics are trusted with the buffers');

# positions are not lost: what is trimmed lies before them
query('CHECKPOINT');
$node->kill9;
$broker->trim('orders');
restart_after_crash($node);
wait_until('the pipeline to stop', sub { pipeline('state') eq 'failed' });
is(pipeline('error'), 'buffers of pipeline "paid" cannot be reloaded: topic "orders" has deleted records that they held', 'it says why');
is(pipeline('error_detail'), 'Partition 0 must be read again from offset 0 and begins at 3.', 'and which');
is(pipeline('error_hint'), 'Drop the views of the pipeline and create them again, and keep records in the topic longer than their joins look back.', 'and what to do');

produce('payments', 2);
produce('orders', 4);
wait_for_view($node, 'counted');
is(query('SELECT n FROM counted'), 2, 'another pipeline of the topic goes on');
$node->restart;
wait_until('it to stop again', sub { pipeline('state') eq 'failed' && pipeline('error') =~ /has deleted records that they held$/ });
is(query(q(SELECT string_agg(id::text, ' ') FROM paid)), '1', 'the view is what it was');
is(ids(), '1', 'and so is its sink');
is(query(q(SELECT sum(position) FROM kafka.lag WHERE pipeline = 'paid')), 4, 'nothing is read that cannot be joined');

query("DROP MATERIALIZED VIEW paid;\n$create");
produce('payments', 4);
wait_for_view($node, 'paid');
is(query(q(SELECT string_agg(id::text, ' ') FROM paid)), '4', 'created again it has what the topics give');
is(ids(), '1 4', 'and goes on in its sink');
is(query("SELECT * FROM kafka.verify('paid')"), '', 'it is its query');
is(query('SELECT count(*) FROM kafka.pipelines WHERE error IS NOT NULL'), 0, 'and nothing is wrong any more');

# the hint's other half: with the records kept, a crash does no harm
$node->kill9;
restart_after_crash($node);
produce('orders', 5);
produce('payments', 4, 5);
wait_for_view($node, 'paid');
is(query(q(SELECT string_agg(id::text, ' ' ORDER BY id) FROM paid)), '4 4 5', 'a payment after the next crash finds its order from before it');

done_testing();
