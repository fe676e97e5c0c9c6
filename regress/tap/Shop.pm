# The shop that every test of a crash runs: orders and payments joined and enriched with customers, totals per customer, both
# with a sink, records that keep coming, and the check at the end.
#
# Why it exists: after any crash the same must hold. Each view equals its query, every paid order is in the sink exactly once,
# and the last message of every customer is the row of the view. A test is then only the crash.
#
# Order i (from 1) is of customer i % 7 at second i; it is paid 0 to 9 s later unless i is a multiple of 5. Payments of a chunk
# go out before its orders every other time, so rows wait in the buffers of both sides over whatever happens.

package Shop;

use strict;
use warnings;
use Exporter 'import';
use POSIX ();
use Time::HiRes qw(usleep);
use KafkaViews;
use PostgreSQL::Test::Utils;
use Test::More;

our @EXPORT = qw(open_shop feed_shop feed_in_background wait_for_rows check_shop);

my $begin_ms = 1_700_000_000_000;

# Makes topics, foreign tables, views and sinks.
sub open_shop
{
	my ($node, $broker) = @_;

	$broker->create($_, 2, 'retention.ms=-1') for qw(orders payments emails totals);
	$broker->create('customers', 1, 'retention.ms=-1');
	$broker->produce('customers', map { qq($_\t{"name":"c$_"}) } 0 .. 6);
	$node->safe_psql('postgres', <<~'SQL');
		CREATE FOREIGN TABLE orders (order_id bigint, customer_id int, amount numeric, created_at timestamptz)
		  SERVER broker OPTIONS (topic 'orders', event_time 'created_at');
		CREATE FOREIGN TABLE payments (payment_id bigint, order_id bigint, paid_at timestamptz)
		  SERVER broker OPTIONS (topic 'payments', event_time 'paid_at');
		CREATE FOREIGN TABLE customers (customer_id int OPTIONS (key 'true'), name text)
		  SERVER broker OPTIONS (topic 'customers', mode 'upsert');
		CREATE FOREIGN TABLE emails (order_id bigint OPTIONS (key 'true'), name text, amount numeric, paid_at timestamptz)
		  SERVER broker OPTIONS (topic 'emails');
		CREATE FOREIGN TABLE totals_sink (customer_id int OPTIONS (key 'true'), orders bigint, total numeric)
		  SERVER broker OPTIONS (topic 'totals', mode 'upsert');
		BEGIN;
		CREATE MATERIALIZED VIEW paid WITH (kafka.continuous) AS
		  SELECT o.order_id, c.name, o.amount, p.paid_at FROM orders o
		  JOIN payments p ON p.order_id = o.order_id AND p.paid_at BETWEEN o.created_at AND o.created_at + interval '1 hour'
		  JOIN customers c ON c.customer_id = o.customer_id;
		CREATE TRIGGER publish AFTER INSERT ON paid REFERENCING NEW TABLE AS new
		  FOR EACH STATEMENT EXECUTE FUNCTION kafka.publish('emails');
		COMMIT;
		BEGIN;
		CREATE MATERIALIZED VIEW totals WITH (kafka.continuous) AS
		  SELECT customer_id, count(*) AS orders, sum(amount) AS total FROM orders GROUP BY customer_id;
		CREATE TRIGGER publish AFTER INSERT OR UPDATE ON totals FOR EACH ROW EXECUTE FUNCTION kafka.publish('totals_sink');
		COMMIT;
		SQL
	return;
}

# Produces orders from .. to and their payments, at most 100 of them at a time.
sub feed_shop
{
	my ($broker, $from, $to) = @_;

	for (my $first = $from; $first <= $to; $first += 100)
	{
		my $last = $first + 99 < $to ? $first + 99 : $to;
		my @parts = (
			[ 'orders', map { sprintf qq(%d\t{"order_id":%d,"customer_id":%d,"amount":%d.25,"created_at":%d}),
				$_ % 7, $_, $_ % 7, $_ % 90, $begin_ms + 1000 * $_ } $first .. $last ],
			[ 'payments', map { sprintf qq(%d\t{"payment_id":%d,"order_id":%d,"paid_at":%d}),
				$_, 100_000 + $_, $_, $begin_ms + 1000 * ($_ + $_ % 10) } grep { $_ % 5 } $first .. $last ]);

		$broker->produce(@$_) for int($first / 100) % 2 ? reverse @parts : @parts;
	}
	return;
}

# The same in a process of its own; returns a function that waits for its end.
sub feed_in_background
{
	my ($broker, $from, $to) = @_;
	my $pid = fork // die "could not fork: $!";

	if ($pid == 0)
	{
		# no END block may run here: it would end the test's servers
		POSIX::_exit(eval { feed_shop($broker, $from, $to); 1 } ? 0 : 1);
	}
	return sub { waitpid $pid, 0; die 'the feeder failed' if $?; return };
}

# Waits until the join has at least so many rows.
sub wait_for_rows
{
	my ($node, $count) = @_;

	return wait_until("$count rows in the view", sub {
		my ($status, $rows) = ask($node, 'postgres', 'SELECT count(*) FROM paid');
		return $status == 0 && $rows >= $count;
	});
}

# Compares views, sinks and what was fed: orders 1 .. count.
sub check_shop
{
	my ($node, $broker, $count, $what) = @_;
	my $paid = grep { $_ % 5 } 1 .. $count;

	wait_for_view($node, $_) for qw(paid totals);
	is($node->safe_psql('postgres', 'SELECT count(*), count(DISTINCT order_id) FROM paid'), "$paid|$paid", "$what: every paid order once");
	is($node->safe_psql('postgres', 'SELECT sum(orders) FROM totals'), $count, "$what: every order counted once");
	is($node->safe_psql('postgres', "SELECT * FROM kafka.verify('totals')"), '', "$what: totals equal their query");
	is($node->safe_psql('postgres', 'SELECT sum(late_rows) FROM kafka_state.view'), '0', "$what: nothing was late");

	my %times;
	$times{$_}++ for $broker->consume('emails', format => '%k');
	is(scalar(keys %times), $paid, "$what: an e-mail for every paid order");
	is(join(',', grep { $times{$_} > 1 } sort keys %times), '', "$what: and only one");

	my %last;
	for ($broker->consume('totals', format => '%k %v'))
	{
		my ($key, $value) = split / /, $_, 2;
		$last{$key} = $value;
	}
	my $shown = $node->safe_psql('postgres', 'SELECT customer_id, orders, total FROM totals ORDER BY customer_id');
	my $folded = join "\n", map { $last{$_} =~ /"orders":\s*(\d+).*"total":\s*([\d.]+)/ ? "$_|$1|$2" : "$_: $last{$_}" } sort keys %last;
	is($folded, $shown, "$what: the last message of each customer is its row");
	return;
}

1;
