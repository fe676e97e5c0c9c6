# All fault points (bgworker/README.md), what leads a process there, what is done to it there, and the world it is done to.
#
# Why it exists: a fault is a point and an action, and whatever they are, the same must hold afterwards. The world has a join of
# streams with a looked-up table and a sink, a view over it, an aggregate with an upsert sink, windows that close, all one
# pipeline, and an ordinary table with an output trigger. Records come in waves that move event time so far that each wave closes windows and evicts.
#
# Order i (from 1) is of customer i % 7 at 10 i seconds; it is paid 0 to 9 s later unless i is a multiple of 5.

package Faults;

use strict;
use warnings;
use Exporter 'import';
use JSON::PP ();
use POSIX ();
use KafkaViews;
use PostgreSQL::Test::Utils;
use Test::More;

our @EXPORT = qw(all_faults open_world run_fault);

my $begin_ms = 1_700_000_000_000;

# What leads to a point: a wave of records, a transaction of a session, a publisher that starts, a crash before, a new view.
my %leads = (
	records => [ qw(
		batch_polled batch_numbered before_late after_late before_lookup after_lookup before_compute after_compute before_append after_append
		batch_applied before_close after_close before_evict after_evict batch_outbox_written batch_positions_stored batch_stored
		batch_committed batch_before_wake publish_read publish_flushed kafka_begun kafka_produced kafka_delivered kafka_offsets_sent
		kafka_committed note_before note_written note_rows_deleted note_committed truncate_locked truncate_done) ],
	session => [ qw(
		outbox_before_rows outbox_rows_written outbox_committed transactions_read transactions_numbered transactions_begun
		transactions_flushed kafka_begun kafka_produced kafka_delivered kafka_offsets_sent kafka_committed transactions_published
		transactions_rows_deleted transactions_noted truncate_locked truncate_done) ],
	publisher => [ qw(
		recover_read kafka_before_init recover_fenced recover_metadata_read kafka_begun kafka_offsets_sent kafka_committed
		recover_owner_committed) ],
	publisher_and_session => [ qw(kafka_before_init transactions_claim_in_kafka) ],
	crash => [ qw(reload_emptied reload_chunk_applied reload_chunk_committed reload_refilled reload_sentinel_set reload_committed) ],
	view => [ qw(start_resolved start_stored bootstrap_read bootstrap_stored bootstrap_committed first_rows_stored first_rows_committed) ],
);

# What is done to the process that stands there, or to what it needs; "error" and "conflict" happen in it.
my %actions = (
	'kill' => sub { my ($world, $pid) = @_; kill_process($world->{node}, $pid); restart_after_crash($world->{node}) },
	'kill twice' => \&kill_twice,
	'stop' => sub { my ($world, $pid) = @_; kill 'TERM', $pid },
	'kill postmaster' => sub { my ($world) = @_; $world->{node}->kill9; restart_after_crash($world->{node}) },
	'immediate' => sub { my ($world) = @_; $world->{node}->stop('immediate'); $world->{node}->start },
	'fast' => sub { my ($world) = @_; $world->{node}->stop('fast'); $world->{node}->start },
	'kill broker' => sub { my ($world) = @_; $world->{broker}->kill; release($world); $world->{broker}->start },
	'stop broker' => sub { my ($world) = @_; $world->{broker}->stop; release($world); $world->{broker}->start },
	'error' => sub { },
	'conflict' => sub { },
);

# Where nothing can fail: a commit that has happened.
my %no_error = map { $_ => 1 } qw(outbox_committed kafka_committed);

# Lists all faults: [lead, point, action], those of a lead together. A conflict is one of a batch's statements.
sub all_faults
{
	my @faults;

	for my $lead (sort keys %leads)
	{
		for my $point (@{ $leads{$lead} })
		{
			push @faults, map { [ $lead, $point, $_ ] } grep {
				!($_ eq 'error' && $no_error{$point}) && !($_ eq 'conflict' && $point !~ /^(before|after)_|^batch_(numbered|applied|.*stored|outbox.*)$/) }
			  sort keys %actions;
		}
	}
	return @faults;
}

# Makes topics, views and sinks.
sub open_world
{
	my ($node, $broker) = @_;
	my $world = { node => $node, broker => $broker, orders => 0, views => 0 };

	$broker->create($_, 2, 'retention.ms=-1') for qw(orders payments emails totals facts);
	$broker->create($_, 1, 'retention.ms=-1') for qw(customers names minutes);
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
		CREATE FOREIGN TABLE names_sink (name text OPTIONS (key 'true'), n bigint)
		  SERVER broker OPTIONS (topic 'names', mode 'upsert');
		CREATE FOREIGN TABLE totals_sink (customer_id int OPTIONS (key 'true'), n bigint, total numeric)
		  SERVER broker OPTIONS (topic 'totals', mode 'upsert');
		CREATE FOREIGN TABLE minutes_sink (minute timestamptz, n bigint) SERVER broker OPTIONS (topic 'minutes');
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
		SQL
	feed($world, 120);
	write_facts($world);
	wait_for_all($world);
	return $world;
}

# Leads a process to the point, does the action to it, and checks the world; returns what is wrong with it afterwards.
sub run_fault
{
	my ($world, $lead, $point, $action) = @_;
	my ($node, $broker) = @$world{qw(node broker)};
	my $wait_for_session;

	if ($lead eq 'crash')
	{
		$node->stop('immediate');
		arm($world, $point, $action);
		$node->start;
	}
	else
	{
		# a publisher that starts takes what it finds: the point is armed before it is there
		arm($world, $point, $action);
		kill_worker($node, 'publisher', 'TERM') if $lead =~ /publisher/;
	}
	add_views($world) if $lead eq 'view';
	feed($world, 120) if $lead eq 'records';
	$wait_for_session = write_facts_in_background($world) if $lead =~ /session/;

	$actions{$action}->($world, who_stands($world));
	release($world);
	$wait_for_session->() if $wait_for_session;

	feed($world, 30);
	write_facts($world);
	wait_for_all($world);
	my @wrong = check_world($world);
	drop_views($world) if $lead eq 'view';
	return @wrong;
}

# Kills the process, and, in what that makes them do, whoever comes to a point which is only there.
sub kill_twice
{
	my ($world, $pid) = @_;
	my @points = ((grep { !/committed/ } @{ $leads{crash} }), grep { /^recover/ } @{ $leads{publisher} });

	arm($world, $points[ int(rand(@points)) ], 'wait');
	$actions{kill}->($world, $pid);
	unlink $world->{node}->data_dir . "/kafka_fault.$pid";
	$actions{kill}->($world, who_stands($world));
	return;
}

# Arms a point by a file that is there all at once.
sub arm
{
	my ($world, $point, $action) = @_;
	my $file = $world->{node}->data_dir . '/kafka_fault';

	append_to_file("$file.new", "$point " . ($action =~ /^(error|conflict)$/ ? $action : 'wait') . "\n");
	rename "$file.new", $file or die "could not rename $file.new: $!";
	return;
}

# The file of who stands at the armed point.
sub reached { my ($world) = @_; return glob($world->{node}->data_dir . '/kafka_fault.[0-9]*') }

# Waits for it; returns its pid.
sub who_stands
{
	my ($world) = @_;

	return wait_until('a process at the fault point', sub { my ($file) = reached($world); return $file && $file =~ /(\d+)$/ && $1 });
}

# Lets who stands there go on.
sub release { my ($world) = @_; unlink reached($world); return }

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

my $insert_facts = 'INSERT INTO fact (session) SELECT g % 5 FROM generate_series(1, 50) g';

# Writes to the ordinary table; a server that comes back may still refuse connections.
sub write_facts
{
	my ($world) = @_;

	wait_until('a session to write', sub { return (ask($world->{node}, 'postgres', $insert_facts))[0] == 0 });
	return;
}

# The same in a process of its own, because the session may stand at the point; returns a function that waits for its end.
sub write_facts_in_background
{
	my ($world) = @_;
	my $pid = fork // die "could not fork: $!";

	if ($pid == 0)
	{
		# no END block may run here: it would end the test's servers
		ask($world->{node}, 'postgres', $insert_facts);
		POSIX::_exit(0);
	}
	return sub { waitpid $pid, 0; return };
}

# Makes a view in a pipeline of its own and one over a running view, which has a sink.
sub add_views
{
	my ($world) = @_;
	my $n = ++$world->{views};

	$world->{broker}->create("over_$n", 1, 'retention.ms=-1');
	$world->{node}->safe_psql('postgres', <<~"SQL");
		CREATE FOREIGN TABLE over_sink_$n (order_id bigint OPTIONS (key 'true'), amount numeric) SERVER broker OPTIONS (topic 'over_$n');
		CREATE MATERIALIZED VIEW named_$n WITH (kafka.continuous) AS
		  SELECT o.order_id, c.name FROM orders o JOIN customers c ON c.customer_id = o.customer_id;
		BEGIN;
		CREATE MATERIALIZED VIEW over_$n WITH (kafka.continuous) AS SELECT order_id, amount FROM paid;
		CREATE TRIGGER publish AFTER INSERT ON over_$n REFERENCING NEW TABLE AS new
		  FOR EACH STATEMENT EXECUTE FUNCTION kafka.publish('over_sink_$n');
		COMMIT;
		SQL
	$world->{more} = [ "named_$n", "over_$n" ];
	return;
}

sub drop_views
{
	my ($world) = @_;

	$world->{node}->safe_psql('postgres', "DROP MATERIALIZED VIEW $_") for reverse @{ delete $world->{more} };
	return;
}

# Waits until everything is applied and published, all of it in one question, as a connection costs more than the answer.
sub wait_for_all
{
	my ($world) = @_;
	my $waits = join ' AND ', map { "kafka.wait_for_view('$_', interval '5 s')" } views($world);

	wait_until('everything to be applied and published', sub {
		my ($status, $answer) = ask($world->{node}, 'postgres', <<~"SQL");
			SELECT $waits AND NOT EXISTS (SELECT FROM kafka_state.transaction_outbox)
			  AND (SELECT bool_and(published) FROM kafka_state.transaction_batch)
			SQL
		return defined $answer && $answer eq 't' });
	return;
}

sub views { my ($world) = @_; return (qw(paid names totals minutes), @{ $world->{more} // [] }) }

# Compares views, sinks and what was fed; returns what is wrong.
sub check_world
{
	my ($world) = @_;
	my $paid = join ',', grep { $_ % 5 } 1 .. $world->{orders};
	my $in_postgres = look_into_postgres($world);
	my @wrong;
	my $expect = sub {
		my ($what, $got, $expected) = @_;
		push @wrong, "$what:\n   got      $got\n   expected $expected" if $got ne $expected;
	};

	$expect->("$_ differs from its query", $in_postgres->{"differences of $_"}, '') for views($world);
	$expect->('late rows', $in_postgres->{late}, '0');
	$expect->('dead letters', $in_postgres->{dead}, '0');
	$expect->('orders in paid', $in_postgres->{paid}, $paid);
	$expect->('orders counted', $in_postgres->{counted}, $world->{orders});
	for my $view ('emails', grep { /^over/ } views($world))
	{
		$expect->("messages of $view", join(',', sort { $a <=> $b } map { $_->[0] } messages($world, $view)), $paid);
	}
	$expect->('messages of minutes', join(',', map { $_->[1]{n} } messages($world, 'minutes')), $in_postgres->{minutes});
	my @facts = messages($world, 'facts');
	$expect->('messages of facts', join(',', sort { $a <=> $b } map { $_->[1]{id} } @facts), $in_postgres->{facts});
	$expect->('order of facts', join(' ', backwards('id', @facts)), '');
	for my $view (qw(totals names))
	{
		my @messages = messages($world, $view);
		my %last = map { $_->[0] => $_->[1]{n} } @messages;

		$expect->("order of $view", join(' ', backwards('n', @messages)), '');
		$expect->("last messages of $view", join(',', map { "$_=$last{$_}" } sort keys %last), $in_postgres->{$view});
	}
	$expect->("messages of $_ that no commit followed", join(',', aborted_for_good($world, $_)), '') for qw(emails facts minutes);
	return @wrong;
}

# What each view must show that kafka.verify refuses because a table is looked up; here that never changes.
my %query = (
	paid => 'SELECT o.order_id, c.name, o.amount, p.paid_at FROM orders o JOIN payments p USING (order_id) JOIN customers c USING (customer_id)',
	names => 'SELECT name, count(*) FROM paid GROUP BY name',
	named => 'SELECT o.order_id, c.name FROM orders o JOIN customers c USING (customer_id)',
	over => 'SELECT order_id, amount FROM paid',
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
		minutes => q{SELECT string_agg(n::text, ',' ORDER BY minute) FROM minutes},
		facts => q{SELECT string_agg(id::text, ',' ORDER BY id) FROM fact},
		totals => q{SELECT string_agg(customer_id || '=' || n, ',' ORDER BY customer_id) FROM totals},
		names => q{SELECT string_agg(name || '=' || n, ',' ORDER BY name) FROM names},
	);

	for my $view (views($world))
	{
		my $query = $query{ $view =~ s/_.*//r };

		$questions{"differences of $view"} = $query
		  ? "(TABLE $view EXCEPT ALL $query) UNION ALL ($query EXCEPT ALL TABLE $view)" : "SELECT * FROM kafka.verify('$view')";
	}
	my @names = sort keys %questions;
	my $answers = $world->{node}->safe_psql('postgres', join '', map { "\\echo == $_\n$questions{$_};\n" } @names);

	return { map { /^(.*?)\n(.*?)\n?\z/s ? ($1, $2) : () } split /^== /m, "$answers\n" };
}

# Reads a sink: [key, value as a structure] each, in order.
sub messages
{
	my ($world, $topic) = @_;

	return map { my ($key, $value) = split /\t/, $_, 2; [ $key, JSON::PP::decode_json($value) ] }
	  $world->{broker}->consume($topic, format => '%k\t%v', isolation => 'read_committed');
}

# Finds messages that do not have more in a field than the one before with the same key: doubled, or in the wrong order.
sub backwards
{
	my ($field, @messages) = @_;
	my %last;

	return map { "$_->[0]: $_->[1]{$field}" } grep {
		my $before = $last{ $_->[0] };
		$last{ $_->[0] } = $_->[1]{$field};
		defined $before && $before >= $_->[1]{$field} } @messages;
}

# Finds messages which only read_uncommitted readers see, and which did not come again in a transaction that committed.
sub aborted_for_good
{
	my ($world, $topic) = @_;
	my %committed = map { $_ => 1 } $world->{broker}->consume($topic, format => '%k %v', isolation => 'read_committed');

	return grep { !$committed{$_} } $world->{broker}->consume($topic, format => '%k %v', isolation => 'read_uncommitted');
}

1;
