# Rows of an outer join wait in unlogged buffers until time closes them. The postmaster is killed (-9) between arrival and closing, again
# and again, once with commits that were not flushed: every row is then in the view, and in its sink, exactly once, matched or
# without a match, by matches from before and after the kills. Some records are bad in themselves, some only for the view;
# neither may come back from a reload.

use strict;
use warnings;
use KafkaViews;
use PostgreSQL::Test::Utils;
use Test::More;

my $broker = KafkaViews::Broker->new;
my $node = new_node('main', broker => $broker, conf => "kafka.batch_rows = 100\nwal_writer_delay = 10s");
my $begin_ms = 1_700_000_000_000;
my $rounds = 5;
my $each = 300;    # lefts a round, one every 100 ms

$broker->create($_, 2, 'retention.ms=-1') for qw(lefts rights);
$broker->create('sink', 1, 'retention.ms=-1');
$node->safe_psql('postgres', <<~'SQL');
	CREATE FOREIGN TABLE lefts (id int, divisor int, at timestamptz) SERVER broker OPTIONS (topic 'lefts', event_time 'at');
	CREATE FOREIGN TABLE rights (id int, of int, at timestamptz) SERVER broker OPTIONS (topic 'rights', event_time 'at');
	CREATE FOREIGN TABLE sink (left_id int, right_id int) SERVER broker OPTIONS (topic 'sink');
	BEGIN;
	CREATE MATERIALIZED VIEW pairs WITH (kafka.continuous, kafka.grace = '3 s') AS
	  SELECT l.id AS left_id, r.id AS right_id, 100 / l.divisor AS share FROM lefts l
	  FULL JOIN rights r ON r.of = l.id AND r.at BETWEEN l.at AND l.at + interval '10 s';
	CREATE TRIGGER publish AFTER INSERT ON pairs REFERENCING NEW TABLE AS new FOR EACH STATEMENT EXECUTE FUNCTION kafka.publish('sink');
	COMMIT;
	SQL

# Left i is at i * 100 ms. A third of them has a right up to 10 s later, some have two; some rights are of nobody. Times are up to 1 s
# out of order, to either partition.
sub rows_of_round
{
	my ($round) = @_;
	my ($from, $to) = ($round * $each * 100, ($round + 1) * $each * 100);
	my (@lefts, @rights);

	for my $i (1 .. $rounds * $each)
	{
		my $at = $i * 100;
		push @lefts, [ $at, sprintf '{"id":%d,"divisor":%d,"at":%d}', $i, 7, $begin_ms + $at ] if $at >= $from && $at < $to;
		for my $n (grep { $i % 3 == 0 || ($_ == 1 && $i % 7 == 0) } 0 .. $i % 5 == 0)
		{
			my $later = $at + ($i * 37 + $n * 1111) % 10_000;
			my $of = $i % 11 == 0 ? -$i : $i;
			push @rights, [ $later, sprintf '{"id":%d,"of":%d,"at":%d}', 10 * $i + $n, $of, $begin_ms + $later ] if $later >= $from && $later < $to;
		}
	}
	push @lefts, [ $from + 5000, '{"id":' ];    # a bad record
	return map { [ map { sprintf "partition=%d k\t%s", int(rand(2)), $_->[1] } sort { $a->[0] + $a->[2] <=> $b->[0] + $b->[2] }
		map { [ @$_, int(rand(1000)) ] } @$_ ] } \@lefts, \@rights;
}

# One record in every partition: of a time before all others, so that none is silent, and at the end of one that closes all.
sub mark_time
{
	my ($id, $at) = @_;

	$broker->produce('lefts', map { qq(partition=$_ k\t{"id":$id,"divisor":1,"at":$at}) } 0, 1);
	$broker->produce('rights', map { qq(partition=$_ k\t{"id":$id,"at":$at}) } 0, 1);
	return;
}

mark_time(0, $begin_ms - 60_000);
wait_for_view($node, 'pairs');
for my $round (0 .. $rounds - 1)
{
	my ($lefts, $rights) = rows_of_round($round);

	$broker->produce(@$_) for $round % 2 ? ([ lefts => @$lefts ], [ rights => @$rights ]) : ([ rights => @$rights ], [ lefts => @$lefts ]);
	if ($round == 2)
	{
		# in the middle of it, with commits that no WAL has yet
		wait_until('something of the round to be applied', sub { $node->safe_psql('postgres', 'SELECT max(left_id) FROM pairs') > 2 * $each });
	}
	else
	{
		wait_for_view($node, 'pairs');
		cmp_ok($node->safe_psql('postgres', 'SELECT count(*) FROM lefts l WHERE l.id > 0 AND NOT EXISTS (SELECT FROM pairs p WHERE p.left_id = l.id)'),
			'>', 20, "round $round: some wait");
	}
	$node->kill9;
	restart_after_crash($node);
}
mark_time(-1, $begin_ms + 100_000_000);
wait_for_view($node, 'pairs');

my $query = <<~'SQL';
	SELECT l.id AS left_id, r.id AS right_id FROM (SELECT * FROM lefts WHERE id >= 0) l
	FULL JOIN (SELECT * FROM rights WHERE id >= 0) r ON r.of = l.id AND r.at BETWEEN l.at AND l.at + interval '10 s'
	SQL
is($node->safe_psql('postgres', "SELECT * FROM ((SELECT left_id, right_id FROM pairs) EXCEPT ALL ($query)) d"), '', 'no row too many');
is($node->safe_psql('postgres', "SELECT * FROM (($query) EXCEPT ALL (SELECT left_id, right_id FROM pairs)) d"), '', 'none is missing');
is($node->safe_psql('postgres', 'SELECT * FROM kafka.verify(\'pairs\')'), '', 'the view is its query, as far as time has come');
is($node->safe_psql('postgres', 'SELECT late_rows FROM kafka.views'), '0', 'none was late');
is($node->safe_psql('postgres', 'SELECT count(*) FROM kafka.dead_letters'), $rounds, 'the bad records are where they belong');
cmp_ok($node->safe_psql('postgres', "SELECT count(*) FROM pairs WHERE $_"), '>', 30, "many are: $_")
  for 'left_id IS NULL', 'right_id IS NULL', 'left_id = right_id / 10';

sub pair { my ($value) = @_; return join '|', map { $value =~ /"$_":\s*(\d+)/ ? $1 : '' } qw(left_id right_id) }
is(join("\n", sort map { pair($_) } $broker->consume('sink', format => '%v')),
	join("\n", sort split /\n/, $node->safe_psql('postgres', 'SELECT left_id, right_id FROM pairs')), 'the sink has each row of the view once');
check_nothing_lost($node, 'after kills');
done_testing();
