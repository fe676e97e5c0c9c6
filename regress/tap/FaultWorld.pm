# The world that faults are done to (Faults.pm), and what must hold of it whatever was done.
#
# Why it exists: it is the same for every fault. It has a join of streams with a looked-up table and a sink, a view over it, an
# aggregate with an upsert sink, windows that close, all one pipeline; a pipeline of its own whose records may be bad; and an ordinary
# table with an output trigger. Records come in waves that move event time so far that each wave closes windows and evicts.
#
# Order i (from 1) is of customer i % 7 at 10 i seconds; it is paid 0 to 9 s later unless i is a multiple of 5.

package FaultWorld;

use strict;
use warnings;
use Exporter 'import';
use POSIX ();
use KafkaViews;
use PostgreSQL::Test::Utils;
use Test::More;

our @EXPORT = qw(open_world feed ask_questions questions_answered write_facts in_background change answer wait_for_all wait_for_transactions
  check_world make_views limited_view drop_what_was_added $insert_facts);

our $insert_facts = 'INSERT INTO fact (session) SELECT g % 5 FROM generate_series(1, 50) g';

my $begin_ms = 1_700_000_000_000;
my $limited = 40;

# Makes topics, views and sinks.
sub open_world
{
	my ($node, $broker) = @_;
	my $world = { node => $node, broker => $broker, orders => 0, questions => 0, answered => [], waiting => [], bad => 0, partitions => 1, number => 0, more => [], attached => [], log_read => 0 };

	$broker->create($_, 2, 'retention.ms=-1') for qw(orders payments emails totals facts);
	$broker->create($_, 1, 'retention.ms=-1') for qw(customers names minutes questions answers);
	$broker->produce('customers', map { qq($_\t{"name":"c$_"}) } 0 .. 6);
	$node->safe_psql('postgres', <<~'SQL');
		CREATE FOREIGN TABLE orders (order_id bigint, customer_id int, amount numeric, created_at timestamptz)
		  SERVER broker OPTIONS (topic 'orders', event_time 'created_at');
		CREATE FOREIGN TABLE payments (payment_id bigint, order_id bigint, paid_at timestamptz)
		  SERVER broker OPTIONS (topic 'payments', event_time 'paid_at');
		CREATE FOREIGN TABLE customers (customer_id int OPTIONS (key 'true'), name text)
		  SERVER broker OPTIONS (topic 'customers', mode 'upsert');
		CREATE FOREIGN TABLE questions (id bigint, divisor int) SERVER broker OPTIONS (topic 'questions');
		CREATE FOREIGN TABLE emails (order_id bigint OPTIONS (key 'true'), name text, amount numeric, paid_at timestamptz)
		  SERVER broker OPTIONS (topic 'emails');
		CREATE FOREIGN TABLE names_sink (name text OPTIONS (key 'true'), n bigint)
		  SERVER broker OPTIONS (topic 'names', mode 'upsert');
		CREATE FOREIGN TABLE totals_sink (customer_id int OPTIONS (key 'true'), n bigint, total numeric)
		  SERVER broker OPTIONS (topic 'totals', mode 'upsert');
		CREATE FOREIGN TABLE minutes_sink (minute timestamptz, n bigint) SERVER broker OPTIONS (topic 'minutes');
		CREATE FOREIGN TABLE answers_sink (id bigint, answer int) SERVER broker OPTIONS (topic 'answers');
		CREATE FOREIGN TABLE facts (session int OPTIONS (key 'true'), id bigint) SERVER broker OPTIONS (topic 'facts');
		CREATE TABLE fact (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, session int);
		CREATE TRIGGER publish AFTER INSERT ON fact REFERENCING NEW TABLE AS new
		  FOR EACH STATEMENT EXECUTE FUNCTION kafka.publish('facts');
		BEGIN;
		CREATE MATERIALIZED VIEW paid WITH (kafka.continuous, kafka.pipeline = 'shop') AS
		  SELECT o.order_id, c.name, o.amount, p.paid_at FROM orders o
		  JOIN payments p ON p.order_id = o.order_id AND p.paid_at BETWEEN o.created_at AND o.created_at + interval '1 hour'
		  JOIN customers c ON c.customer_id = o.customer_id;
		CREATE TRIGGER publish AFTER INSERT ON paid REFERENCING NEW TABLE AS new
		  FOR EACH STATEMENT EXECUTE FUNCTION kafka.publish('emails');
		CREATE MATERIALIZED VIEW people WITH (kafka.continuous, kafka.pipeline = 'shop') AS SELECT customer_id, name FROM customers;
		CREATE MATERIALIZED VIEW names WITH (kafka.continuous) AS SELECT name, count(*) AS n FROM paid GROUP BY name;
		CREATE TRIGGER publish AFTER INSERT OR UPDATE ON names FOR EACH ROW EXECUTE FUNCTION kafka.publish('names_sink');
		CREATE MATERIALIZED VIEW totals WITH (kafka.continuous, kafka.pipeline = 'shop') AS
		  SELECT customer_id, count(*) AS n, sum(amount) AS total FROM orders GROUP BY customer_id;
		CREATE TRIGGER publish AFTER INSERT OR UPDATE ON totals FOR EACH ROW EXECUTE FUNCTION kafka.publish('totals_sink');
		CREATE MATERIALIZED VIEW minutes WITH (kafka.continuous, kafka.pipeline = 'shop', kafka.emit = 'final', kafka.grace = '0 s') AS
		  SELECT date_bin('1 minute', created_at, '2000-01-01') AS minute, count(*) AS n FROM orders GROUP BY 1;
		CREATE TRIGGER publish AFTER INSERT ON minutes REFERENCING NEW TABLE AS new
		  FOR EACH STATEMENT EXECUTE FUNCTION kafka.publish('minutes_sink');
		COMMIT;
		CREATE MATERIALIZED VIEW answers WITH (kafka.continuous) AS SELECT id, 100 / divisor AS answer FROM questions;
		CREATE TRIGGER publish AFTER INSERT ON answers REFERENCING NEW TABLE AS new
		  FOR EACH STATEMENT EXECUTE FUNCTION kafka.publish('answers_sink');
		CREATE TABLE allowed (all_answers boolean);
		CREATE FUNCTION check_answer() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN
		  IF NEW.answer = 20 AND NOT EXISTS (SELECT FROM public.allowed) THEN RAISE 'this answer is not allowed'; END IF;
		  RETURN NULL; END$$;
		CREATE TRIGGER check_answer AFTER INSERT ON answers FOR EACH ROW EXECUTE FUNCTION check_answer();
		SQL
	wait_for_all($world);
	# a partition without any record holds no time back: all must have some before the first is read
	change($world, q{SELECT kafka.pause('shop')}, q{(SELECT phase = 'paused' FROM kafka.pipelines WHERE pipeline = 'shop')})->();
	feed($world, 120);
	change($world, q{SELECT kafka.resume('shop')}, q{NOT (SELECT paused FROM kafka_state.pipeline WHERE name = 'shop')})->();
	ask_questions($world, 0);
	write_facts($world);
	wait_for_all($world);
	return $world;
}

# Produces the next orders and their payments, the payments first every other time.
sub feed
{
	my ($world, $count) = @_;
	my $first = $world->{orders} + 1;
	my $last = $world->{orders} += $count;
	my @parts = (
		[ 'orders', map { sprintf qq(%d\t{"order_id":%d,"customer_id":%d,"amount":%d.25,"created_at":%d}),
			$_ % 7, $_, $_ % 7, $_ % 90, $begin_ms + 10_000 * $_ } $first .. $last ],
		[ 'payments', map { sprintf qq(%d\t{"payment_id":%d,"order_id":%d,"paid_at":%d}),
			$_, 100_000 + $_, $_, $begin_ms + 10_000 * $_ + 1000 * ($_ % 10) } grep { $_ % 5 } $first .. $last ]);

	$world->{broker}->produce(@$_) for int($first / 10) % 2 ? reverse @parts : @parts;
	return;
}

# Produces questions, of which so many have no answer, and as many one that is not allowed for now.
sub ask_questions
{
	my ($world, $bad) = @_;
	my @divisors = ((0) x $bad, (5) x $bad, (10) x 20);
	my @lines;

	# the good ones between the others
	for my $divisor (map { @divisors[ $_ * 7 % @divisors ] } 0 .. $#divisors)
	{
		my $id = ++$world->{questions};

		push @lines, qq($id\t{"id":$id,"divisor":$divisor});
		push @{ $world->{answered} }, $id if $divisor == 10;
		push @{ $world->{waiting} }, $id if $divisor == 5;
		$world->{bad}++ if $divisor == 0;
	}
	$world->{broker}->produce('questions', @lines);
	return;
}

# From now on all answers are expected; gives the condition that they are there.
sub questions_answered
{
	my ($world) = @_;

	push @{ $world->{answered} }, splice @{ $world->{waiting} };
	return "(SELECT count(*) = $world->{bad} FROM kafka.dead_letters)";
}

# Writes to the ordinary table; a server that comes back may still refuse connections.
sub write_facts
{
	my ($world) = @_;

	wait_until('a session to write', sub { return (ask($world->{node}, 'postgres', $insert_facts))[0] == 0 });
	return;
}

# Runs a statement in a process of its own, because the session may stand at the point; returns a function that waits for its end.
sub in_background
{
	my ($world, $statement) = @_;
	my $pid = fork // die "could not fork: $!";

	if ($pid == 0)
	{
		# no END block may run here: it would end the test's servers
		ask($world->{node}, 'postgres', $statement);
		POSIX::_exit(0);
	}
	return sub { waitpid $pid, 0; return };
}

# The same of a statement that must be done in the end: the function repeats it until the condition holds.
sub change
{
	my ($world, $statement, $done) = @_;
	my $end = in_background($world, $statement);

	return sub {
		$end->();
		wait_until($statement, sub {
			my $is_done = answer($world, "SELECT $done");
			return 1 if $is_done eq 't';
			ask($world->{node}, 'postgres', $statement) if $is_done eq 'f';
			return 0 });
		return };
}

# Asks for one value; gives '' where the server does not answer.
sub answer { my ($world, $query) = @_; return (ask($world->{node}, 'postgres', $query))[1] // '' }

# Gives statement and condition for a view in a pipeline of its own and one over a running view, which has a sink. It looks a keyed view up, so batches come
# before its first rows, and of these nearly all are of minutes that time has closed.
sub make_views
{
	my ($world) = @_;
	my $n = ++$world->{number};

	$world->{broker}->create("over_$n", 1, 'retention.ms=-1');
	push @{ $world->{more} }, "named_$n", "over_$n";
	return (<<~"SQL", "to_regclass('over_$n') IS NOT NULL");
		BEGIN;
		CREATE FOREIGN TABLE over_sink_$n (order_id bigint OPTIONS (key 'true'), amount numeric) SERVER broker OPTIONS (topic 'over_$n');
		CREATE MATERIALIZED VIEW named_$n WITH (kafka.continuous) AS
		  SELECT o.order_id, c.name FROM orders o JOIN customers c ON c.customer_id = o.customer_id;
		CREATE MATERIALIZED VIEW over_$n WITH (kafka.continuous, kafka.grace = '0 s') AS
		  SELECT order_id, max(amount) AS amount, date_bin('1 minute', paid_at, '2000-01-01') AS minute FROM paid JOIN people USING (name) GROUP BY order_id, minute;
		CREATE TRIGGER publish AFTER INSERT ON over_$n REFERENCING NEW TABLE AS new
		  FOR EACH STATEMENT EXECUTE FUNCTION kafka.publish('over_sink_$n');
		COMMIT;
		SQL
}

# The same for a join with a topic that is limited in size, so that its buffer must be logged.
sub limited_view
{
	my ($world) = @_;
	my $n = ++$world->{number};

	$world->{broker}->create("limited_$n", 1, 'retention.ms=-1', 'retention.bytes=1000000000');
	$world->{broker}->produce("limited_$n", map { sprintf qq(%d\t{"order_id":%d,"at":%d}), $_, $_, $begin_ms + 10_000 * $_ } 1 .. $limited);
	push @{ $world->{more} }, "limited_$n";
	return (<<~"SQL", "to_regclass('limited_$n') IS NOT NULL");
		BEGIN;
		CREATE FOREIGN TABLE topic_$n (order_id bigint, at timestamptz) SERVER broker OPTIONS (topic 'limited_$n', event_time 'at');
		CREATE MATERIALIZED VIEW limited_$n WITH (kafka.continuous) AS
		  SELECT t.order_id, p.paid_at FROM topic_$n t
		  JOIN payments p ON p.order_id = t.order_id AND p.paid_at BETWEEN t.at AND t.at + interval '1 hour';
		COMMIT;
		SQL
}

# Takes away what faults have added.
sub drop_what_was_added
{
	my ($world) = @_;
	my @statements = ((map { "SELECT kafka.detach_sink('paid', '$_')" } splice @{ $world->{attached} }),
		map { "DROP MATERIALIZED VIEW $_" } reverse splice @{ $world->{more} });

	$world->{node}->safe_psql('postgres', join ';', @statements) if @statements;
	return;
}

sub views { my ($world) = @_; return (qw(paid names totals minutes answers), @{ $world->{more} }) }

my $transactions_are_out = 'NOT EXISTS (SELECT FROM kafka_state.transaction_outbox) AND (SELECT coalesce(bool_and(published), true) FROM kafka_state.transaction_batch)';

# Waits until everything is applied and published, all of it in one question, as a connection costs more than the answer.
sub wait_for_all
{
	my ($world) = @_;
	my $waits = join ' AND ', map { "kafka.wait_for_view('$_', interval '5 s')" } views($world);

	wait_until('everything to be applied and published', sub {
		return answer($world, "SELECT $waits AND $transactions_are_out") eq 't' });
	return;
}

# Waits until no message of an ordinary transaction waits, so that the next one begins a batch of its own.
sub wait_for_transactions
{
	my ($world) = @_;

	wait_until('transactions to be published', sub { return answer($world, "SELECT $transactions_are_out") eq 't' });
	return;
}

# Compares views, sinks and what was fed; returns what is wrong.
sub check_world
{
	my ($world) = @_;
	my @paid = grep { $_ % 5 } 1 .. $world->{orders};
	my $in_postgres = look_into_postgres($world);
	my $set_back = $world->{set_back} // '';
	my @wrong;
	my $expect = sub {
		my ($what, $got, $expected) = @_;
		push @wrong, "$what:\n   got      $got\n   expected $expected" if $got ne $expected;
	};
	my $expect_ids = sub {
		my ($what, $messages, $expected) = @_;
		$expect->("messages of $what", join(',', sort { $a <=> $b } map { $_->[1] } @$messages), $expected);
	};

	$expect->("$_ differs from its query", $in_postgres->{"differences of $_"}, '') for views($world);
	$expect->('late rows', $in_postgres->{late}, '0');
	# only a database that was set back may, and must, find Kafka ahead
	my @lost = lines_of_loss($world->{node}, $world->{log_read});
	$world->{log_read} = -s $world->{node}->logfile;
	$expect->('lost after it was published', join("\n", delete $world->{set_back} ? @lost > 0 : @lost), $set_back);
	$expect->('dead letters', $in_postgres->{dead}, $world->{bad} + @{ $world->{waiting} });
	$expect->('orders in paid', $in_postgres->{paid}, join(',', @paid));
	$expect->('orders counted', $in_postgres->{counted}, $world->{orders});
	$expect->('answers', $in_postgres->{answers}, scalar @{ $world->{answered} });
	my @copies = ('emails', @{ $world->{attached} }, grep { /^over/ } @{ $world->{more} });
	my %messages = messages($world, 'read_committed', qw(minutes facts answers totals names), @copies);
	my %uncommitted = messages($world, 'read_uncommitted', qw(emails minutes facts answers));

	$expect_ids->($_, $messages{$_}, join ',', @paid) for @copies;
	$expect_ids->('answers', $messages{answers}, join ',', sort { $a <=> $b } @{ $world->{answered} });
	$expect_ids->('facts', $messages{facts}, $in_postgres->{facts});
	$expect->('messages of minutes', join(',', map { $_->[1] } @{ $messages{minutes} }), $in_postgres->{minutes});
	$expect->("order of $_", join(' ', backwards($messages{$_})), '') for qw(facts totals names);
	for my $view (qw(totals names))
	{
		my %last = map { $_->[0] => $_->[1] } @{ $messages{$view} };

		$expect->("last messages of $view", join(',', map { "$_=$last{$_}" } sort keys %last), $in_postgres->{$view});
	}
	$expect->("messages of $_ that no commit followed", join(',', only_in($uncommitted{$_}, $messages{$_})), '') for sort keys %uncommitted;
	return @wrong;
}

# What each view must show that kafka.verify refuses because a table is looked up; here that never changes.
my %query = (
	paid => 'SELECT o.order_id, c.name, o.amount, p.paid_at FROM orders o JOIN payments p USING (order_id) JOIN customers c USING (customer_id)',
	names => 'SELECT name, count(*) FROM paid GROUP BY name',
	named => 'SELECT o.order_id, c.name FROM orders o JOIN customers c USING (customer_id)',
	over => q{SELECT order_id, amount, date_bin('1 minute', paid_at, '2000-01-01') FROM paid},
	answers => 'SELECT q.id, 100 / divisor FROM questions q WHERE divisor <> 0 AND id <> ALL (WAITING)',
	limited => "SELECT g, paid_at FROM generate_series(1, $limited) g JOIN payments p ON p.order_id = g",
);

# Asks for everything that is compared, in one session; returns a hash of texts.
sub look_into_postgres
{
	my ($world) = @_;
	my %questions = (
		late => 'SELECT sum(late_rows) FROM kafka_state.view',
		dead => 'SELECT count(*) FROM kafka.dead_letters',
		paid => q{SELECT string_agg(order_id::text, ',' ORDER BY order_id) FROM paid},
		counted => 'SELECT sum(n) FROM totals',
		answers => 'SELECT count(*) FROM answers',
		minutes => q{SELECT string_agg(n::text, ',' ORDER BY minute) FROM minutes},
		facts => q{SELECT string_agg(id::text, ',' ORDER BY id) FROM fact},
		totals => q{SELECT string_agg(customer_id || '=' || n, ',' ORDER BY customer_id) FROM totals},
		names => q{SELECT string_agg(name || '=' || n, ',' ORDER BY name) FROM names},
	);

	for my $view (views($world))
	{
		my $query = $query{ $view =~ s/_.*//r };
		$query =~ s/WAITING/"'{" . join(',', @{ $world->{waiting} }) . "}'"/e if $query;

		$questions{"differences of $view"} = $query
		  ? "WITH q AS MATERIALIZED ($query) (TABLE $view EXCEPT ALL TABLE q) UNION ALL (TABLE q EXCEPT ALL TABLE $view)"
		  : "SELECT * FROM kafka.verify('$view')";
	}
	my @names = sort keys %questions;
	my $answers = $world->{node}->safe_psql('postgres', join '', map { "\\echo == $_\n$questions{$_};\n" } @names);

	return { map { /^(.*?)\n(.*?)\n?\z/s ? ($1, $2) : () } split /^== /m, "$answers\n" };
}

# Reads sinks: by topic a list, in order, of [key, the number that tells messages of a key apart, the whole].
sub messages
{
	my ($world, $isolation, @topics) = @_;
	my %messages = map { $_ => [] } @topics;

	for my $line ($world->{broker}->consume(\@topics, format => '%T\t%k\t%v', isolation => $isolation))
	{
		$line =~ /^(\w+)\t(.*?)\t.*"(?:order_id|id|n)":(\d+)/ or die "what is this message: $line";
		push @{ $messages{$1} }, [ $2, $3, $line ];
	}
	return %messages;
}

# Finds messages whose number is not greater than that of the one before with the same key: doubled, or in the wrong order.
sub backwards
{
	my ($messages) = @_;
	my %last;

	return map { "$_->[0]: $_->[1]" } grep {
		my $before = $last{ $_->[0] };
		$last{ $_->[0] } = $_->[1];
		defined $before && $before >= $_->[1] } @$messages;
}

# Finds messages which only read_uncommitted readers see, and which did not come again in a transaction that committed.
sub only_in
{
	my ($all, $committed) = @_;
	my %committed = map { $_->[2] => 1 } @$committed;

	return grep { !$committed{$_} } map { $_->[2] } @$all;
}

1;
