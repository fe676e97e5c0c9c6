# What every TAP test needs: brokers that can be stopped and killed, nodes with the extension, topics, the sink as any consumer
# sees it, and the processes of the engine by name.
#
# Why it exists: a test of a crash is a scenario of some lines; starting servers, polling and finding processes stands here once.
# Nothing here waits by the clock: every wait polls for a condition and dies, with what it last saw, after
# PG_TEST_TIMEOUT_DEFAULT seconds. What a test starts ends with it.

package KafkaViews;

use strict;
use warnings;
use Exporter 'import';
use File::Basename qw(basename);
use Time::HiRes qw(usleep);
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

our @EXPORT = qw(new_node add_extension open_passage wait_until wait_for_view wait_for_sink worker_pid kill_worker kill_process restart_after_crash ask
  start_adopted_copy arm_fault fault_build release_fault wait_for_fault kill_unwritten check_nothing_lost lines_of_loss memory_of);

my $root = $ENV{KV_ROOT} or die "run it with regress/run tap/NAME.pl";

# Makes and starts a node with the library preloaded and the extension in database postgres, and, where a broker is given, the
# foreign server "broker" for it. Options: broker => KafkaViews::Broker, conf => text for postgresql.conf, extension => 0 to
# leave the extension out, init => [arguments of PostgreSQL::Test::Cluster::init], install_path => folder with another Postgres' bin/.
sub new_node
{
	my ($name, %options) = @_;
	my $node = PostgreSQL::Test::Cluster->new($name, install_path => $options{install_path});

	$node->init(@{ $options{init} // [] });
	$node->append_conf('postgresql.conf', join "\n",
		"shared_preload_libraries = 'kafka_views'", 'max_worker_processes = 64', 'max_connections = 60',
		'fsync = on', 'restart_after_crash = on', "timezone = 'UTC'", "log_line_prefix = '%m [%p] %b %q%a '",
		"log_statement = none", $options{conf} // '', '');
	$node->start;
	add_extension($node, 'postgres', $options{broker}) if $options{extension} // 1;
	return $node;
}

# Makes the extension in a database and, where a broker is given, the foreign server "broker".
sub add_extension
{
	my ($node, $database, $broker) = @_;

	$node->safe_psql($database, 'CREATE EXTENSION kafka_views');
	$node->safe_psql($database, sprintf q{CREATE SERVER broker FOREIGN DATA WRAPPER kafka OPTIONS (bootstrap_servers '%s')}, $broker->address)
	  if $broker;
	return;
}

# Makes what a copy or a successor of a database finds and goes on with: topics input and output with the view "passed" from the one to
# the other, and a topic facts for the messages of ordinary transactions.
sub open_passage
{
	my ($node, $broker, $database) = @_;

	$broker->create($_, 1, 'retention.ms=-1') for qw(input output facts);
	$node->safe_psql($database // 'postgres', q{
		CREATE FOREIGN TABLE facts (id int) SERVER broker OPTIONS (topic 'facts');
		CREATE FOREIGN TABLE input (id int) SERVER broker OPTIONS (topic 'input');
		CREATE FOREIGN TABLE output (id int) SERVER broker OPTIONS (topic 'output');
		BEGIN;
		CREATE MATERIALIZED VIEW passed WITH (kafka.continuous) AS SELECT id FROM input;
		SELECT kafka.attach_sink('passed', 'output');
		COMMIT;
	});
	return;
}

# Starts a copy of a node that takes its place in Kafka; returns it when it publishes.
sub start_adopted_copy
{
	my ($node) = @_;
	my $copy = PostgreSQL::Test::Cluster->new('copy');

	$node->backup('base');
	$copy->init_from_backup($node, 'base');
	$copy->start;
	$copy->safe_psql('postgres', 'SELECT kafka.adopt()');
	wait_until('the copy to publish', sub { $copy->safe_psql('postgres', q(SELECT count(*) FROM kafka_state.pipeline WHERE compared = '')) eq '0' });
	return $copy;
}

# Polls until the code returns something true, and returns that; dies with what the test waited for after the timeout.
sub wait_until
{
	my ($what, $code, $pause_us) = @_;
	my $deadline = time + $PostgreSQL::Test::Utils::timeout_default;

	while (1)
	{
		my $result = $code->();
		return $result if $result;
		die "gave up waiting for $what" if time > $deadline;
		usleep($pause_us // 50_000);
	}
}

# Waits until a view has applied and published everything that is in its topics now. The connection may be lost by a crash
# that the test causes, so it asks again until the answer is yes.
sub wait_for_view
{
	my ($node, $view, $database) = @_;

	return wait_until(
		"view $view to be caught up",
		sub {
			my ($status, $answer, $error) =
			  ask($node, $database // 'postgres', "SELECT kafka.wait_for_view('$view', interval '5 s')");
			return defined $answer && $answer eq 't';
		});
}

# Runs a query as PostgreSQL::Test::Cluster::psql does; where psql ends before it has read the query, because the server is in
# recovery, that is a failure like any other (status 2) and not the end of the test.
sub ask
{
	my ($node, $database, $query) = @_;
	my @answer = eval { $node->psql($database, $query) };

	return @answer ? @answer : (2, undef, $@);
}

# Kills (-9) the postmaster after some code, during which nothing is written but what somebody waits for: the processes that write WAL and pages by
# themselves stand still. So what is committed and not flushed is lost for sure, and not only where they come too late.
sub kill_unwritten
{
	my ($node, $code) = @_;
	my @writers = split /\n/, $node->safe_psql('postgres',
		"SELECT pid FROM pg_stat_activity WHERE backend_type IN ('walwriter', 'checkpointer', 'background writer')");

	hold($node, $_) for @writers;
	$code->();
	$node->kill9;
	# they shall not write in their end either
	kill 'KILL', @writers;
	return;
}

# Stops a process of the server that writes by itself where it waits for work, and so holds no lock that others need to write.
sub hold
{
	my ($node, $pid) = @_;

	wait_until("process $pid to rest", sub {
		kill 'STOP', $pid or die "could not signal $pid: $!";
		return 1 if $node->safe_psql('postgres', "SELECT wait_event IN ('WalWriterMain', 'CheckpointerMain', 'BgWriterMain', 'BgWriterHibernate') "
			. "FROM pg_stat_activity WHERE pid = $pid") eq 't';
		kill 'CONT', $pid;
		return 0 });
	return;
}

# Checks that no start of the node has found Kafka ahead of Postgres. After a crash it must not be: what goes out was flushed before. If it were, it
# would be applied again without being published, and views and sinks would be right all the same.
sub check_nothing_lost
{
	my ($node, $what) = @_;

	is(join("\n", lines_of_loss($node)), '', "$what: Postgres has all that was published");
	return;
}

# Finds the lines of a node's log, from an offset on, that say that Kafka was ahead.
sub lines_of_loss
{
	my ($node, $offset) = @_;

	return grep { /lacks what was published from it/ } split /\n/, slurp_file($node->logfile, $offset // 0);
}

# Builds the extension with its fault points, in a Postgres installation of its own; returns its path, for new_node's install_path.
sub fault_build
{
	my $dir = PostgreSQL::Test::Utils::tempdir('faults');
	my $path = qx("$root/scripts/fault-build" "$dir");

	die 'scripts/fault-build failed' if $?;
	chomp $path;
	return $path;
}

# Has the next process that comes to a fault point stand still there (a node of fault_build).
sub arm_fault
{
	my ($node, $point) = @_;
	my $file = $node->data_dir . '/kafka_fault';

	append_to_file("$file.new", "$point wait\n");
	rename "$file.new", $file or die "could not rename $file.new: $!";
	return;
}

# Waits until one stands there.
sub wait_for_fault
{
	my ($node) = @_;
	return wait_until('a process to stand at the fault point', sub { return glob $node->data_dir . '/kafka_fault.[0-9]*' });
}

# Lets it go on.
sub release_fault { my ($node) = @_; return unlink glob $node->data_dir . '/kafka_fault.[0-9]*' }

# Waits until a sink topic has so many records for a read_committed consumer; returns them as lines (see Broker::consume).
sub wait_for_sink
{
	my ($broker, $topic, $count, %options) = @_;
	my @lines;

	wait_until("$count records in $topic", sub { @lines = $broker->consume($topic, %options); return @lines >= $count });
	return @lines;
}

# A line of a process' status in /proc, in MB.
sub memory_of
{
	my ($pid, $line) = @_;
	open my $status, '<', "/proc/$pid/status" or die "no process $pid";
	my ($kb) = map { /^$line:\s+(\d+)/ } <$status>;
	return $kb / 1024;
}

# Returns the pid of the engine's process whose backend type or application name matches; waits until there is one other than
# the pid in options{not}.
sub worker_pid
{
	my ($node, $pattern, %options) = @_;
	my $not = $options{not} // 0;

	return wait_until(
		"a process like \"$pattern\"",
		sub {
			my ($status, $pid) = ask($node, 'postgres',
				"SELECT pid FROM pg_stat_activity WHERE pid NOT IN (pg_backend_pid(), $not) AND backend_type <> 'client backend' "
				  . "AND (backend_type ~ '$pattern' OR application_name ~ '$pattern') ORDER BY pid LIMIT 1");
			return $pid;
		});
}

# Sends a signal (default KILL) to a process found by worker_pid; returns its pid.
sub kill_worker
{
	my ($node, $pattern, $signal) = @_;

	return kill_process($node, worker_pid($node, $pattern), $signal);
}

# Sends a signal (default KILL) to a process of the node; returns its pid.
sub kill_process
{
	my ($node, $pid, $signal) = @_;

	$node->{kv_checkpointer} = checkpointer($node) if ($signal // 'KILL') eq 'KILL';
	kill $signal // 'KILL', $pid or die "could not signal $pid: $!";
	return $pid;
}

# Every crash gives the node a new checkpointer, which tells it from the moment before the postmaster has noticed.
sub checkpointer
{
	my ($node) = @_;
	my ($status, $pid) = ask($node, 'postgres', q(SELECT pid FROM pg_stat_activity WHERE backend_type = 'checkpointer'));

	return $status == 0 ? $pid : undef;
}

# Waits until the node takes connections again after one of its processes was killed, which restarts them all, or starts it
# again where the postmaster itself was killed (PostgreSQL::Test::Cluster::kill9). Its children hold the shared memory until they
# notice; and where nobody collects the dead, the lock files name a process that still seems to exist.
sub restart_after_crash
{
	my ($node) = @_;

	if (!defined $node->{_pid})
	{
		my $folder = $node->data_dir;
		wait_until('the children of the postmaster to end',
			sub { return !grep { (readlink($_) // '') eq $folder } glob '/proc/[0-9]*/cwd' });
		my $socket = $node->host . '/.s.PGSQL.' . $node->port;
		unlink "$folder/postmaster.pid", $socket, "$socket.lock";
		$node->start;
	}
	my $before = delete $node->{kv_checkpointer} // '';
	wait_until('the node to take connections', sub { my $now = checkpointer($node); return $now && $now ne $before });
	return;
}

#-----------------------------------------------------------------------------------------------------------------------
package KafkaViews::Broker;

use strict;
use warnings;
use IPC::Run ();

my @started;

# Starts a broker of the test's own, which it may stop and kill.
sub new
{
	my ($class) = @_;
	my $self = bless { dir => PostgreSQL::Test::Utils::tempdir('broker'), own => 1 }, $class;

	push @started, $self;
	$self->start;
	return $self;
}

# Starts two brokers of one cluster, whose topics are on both; the second may be stopped and killed, and what it led is led by the
# first until it is back; with replication => 1 a topic's partition is on one of them alone; properties => 'name=value' is one more of both.
sub pair
{
	my ($class, %options) = @_;
	my $dir = PostgreSQL::Test::Utils::tempdir('properties');

	my $replication = $options{replication} // 2;
	PostgreSQL::Test::Utils::append_to_file("$dir/properties", <<~"PROPERTIES");
		default.replication.factor=$replication
		offsets.topic.replication.factor=2
		transaction.state.log.replication.factor=2
		min.insync.replicas=1
		leader.imbalance.check.interval.seconds=2
		leader.imbalance.per.broker.percentage=0
		@{[ $options{properties} // '' ]}
		PROPERTIES
	local $ENV{KAFKA_PROPERTIES} = "$dir/properties";
	my $first = $class->new;
	local $ENV{KAFKA_JOIN} = "$first->{dir}/broker";
	my $second = $class->new;

	return ($first, $second);
}

# Starts a second broker of the same cluster, whose topics are only those that are made with on=2: transactions and groups that exist
# already have their coordinators on the first.
sub second
{
	my ($self) = @_;

	local $ENV{KAFKA_JOIN} = "$self->{dir}/broker";
	return ref($self)->new;
}

# The broker that all tests of this run share: quicker, never to be stopped; topics need names of the test's own.
sub shared
{
	my ($class) = @_;

	return $class->new if !$ENV{KAFKA_BROKER};
	return bless { address => $ENV{KAFKA_BROKER}, own => 0 }, $class;
}

sub address { return $_[0]->{address} }

# Starts it, or starts it again on its data and port.
sub start
{
	my ($self) = @_;
	my $address = $self->_script('start');

	chomp $address;
	$self->{address} = $address;
	return $self;
}

sub stop { $_[0]->_script('stop'); return }

# kill -9
sub kill { $_[0]->_script('kill'); return }

# Lets it stand still, with its connections open, and go on.
sub freeze { $_[0]->_signal('STOP'); return }
sub thaw { $_[0]->_signal('CONT'); return }

sub _signal
{
	my ($self, $signal) = @_;

	chomp(my $pid = PostgreSQL::Test::Utils::slurp_file("$self->{dir}/broker/pid"));
	CORE::kill $signal, $pid or die "could not signal $pid: $!";
	return;
}

sub _script
{
	my ($self, $action) = @_;

	die 'the shared broker stays as it is' if !$self->{own};
	# its standard output is a file: a pipe would stay open as long as the broker runs
	my $file = "$self->{dir}/script.out";
	system("'$root/scripts/broker' $action '$self->{dir}/broker' >'$file' 2>&1") == 0
	  or die "broker $action failed: " . PostgreSQL::Test::Utils::slurp_file($file);
	return PostgreSQL::Test::Utils::slurp_file($file);
}

# Runs kv_kafka with arguments and, as a text, standard input; returns its output, dies if it fails.
sub kv_kafka
{
	my ($self, $input, @arguments) = @_;
	my ($output, $error) = ('', '');

	IPC::Run::run([ "$root/regress/tools/kv_kafka", '-b', $self->{address}, @arguments ], \$input, \$output, \$error)
	  or die "kv_kafka @arguments: $error";
	return $output;
}

# Makes a topic: create('orders', 2, 'cleanup.policy=compact').
sub create { my ($self, $topic, $partitions, @configs) = @_; $self->kv_kafka('', 'create', $topic, $partitions // 1, @configs); return }

sub delete { my ($self, @topics) = @_; $self->kv_kafka('', 'delete', @topics); return }

# Sets settings of a topic; the others go back to the broker's defaults.
sub configure { my ($self, $topic, @configs) = @_; $self->kv_kafka('', 'configure', $topic, @configs); return }

# Deletes every record that a topic has, or those before an offset.
sub trim { my ($self, @arguments) = @_; $self->kv_kafka('', 'trim', @arguments); return }

sub add_partitions { my ($self, $topic, $total) = @_; $self->kv_kafka('', 'add-partitions', $topic, $total); return }

# Produces lines, each "[partition=N ][ts=MS ][header=NAME:VALUE ]key<tab>value"; "\N" is null.
sub produce
{
	my ($self, $topic, @lines) = @_;

	$self->kv_kafka(join('', map { "$_\n" } @lines), 'produce', $topic);
	return;
}

# Reads a whole topic, or several: lines, in the order of partition and offset. Options: isolation (read_committed), format (as kv_kafka's,
# default '%p\t%o\t%t\t%k\t%v\t%h'), partition.
sub consume
{
	my ($self, $topics, %options) = @_;
	my @arguments = map { ("--$_", $options{$_}) } sort keys %options;

	return split /\n/, $self->kv_kafka('', 'consume', ref $topics ? @$topics : $topics, @arguments);
}

# Returns [first offset, high watermark] of each partition.
sub end
{
	my ($self, $topic) = @_;

	return map { my (undef, $low, $high) = split /\t/; [ $low, $high ] } split /\n/, $self->kv_kafka('', 'end', $topic);
}

# Lets the broker forget a group, as it does by itself after days.
sub forget_group { my ($self, $group) = @_; $self->kv_kafka('', 'forget-group', $group); return }

# Returns the committed offsets of a group: [topic, partition, offset, metadata] each.
sub group
{
	my ($self, $group) = @_;

	return map { [ split /\t/, $_, 4 ] } split /\n/, $self->kv_kafka('', 'group', $group);
}

package KafkaViews;

# What a test kills is killed by signal 9: whatever ends otherwise has crashed, and restarted everything, which a test may not notice.
# The other tests' logs are in the same folder.
sub crashes
{
	my $logs = join ' ', glob "$PostgreSQL::Test::Utils::log_path/" . basename($0, '.pl') . '_*.log';

	return $logs ? grep { !/signal 9\b/ } qx(grep -hE 'was terminated by signal|PANIC:|TRAP:|Assertion .* failed' $logs) : ();
}

END
{
	my $status = $?;
	my @crashes = crashes();
	print STDOUT "not ok - a process has crashed: $_" for @crashes;
	$status ||= 1 if @crashes;
	system("'$root/scripts/broker' kill '$_->{dir}/broker' >/dev/null 2>&1") for @started;
	$? = $status;
}

1;
