# All fault points (bgworker/README.md), what leads a process there, and what is done to it there.
#
# Why it exists: a fault is a point and an action, and whatever they are, the same must hold afterwards of the same world
# (FaultWorld.pm).

package Faults;

use strict;
use warnings;
use Exporter 'import';
use FaultWorld;
use KafkaViews;
use PostgreSQL::Test::Utils;
use Test::More;

our @EXPORT = qw(all_faults run_faults can_be_chained);

# What leads to a point: a wave of records, a transaction of a session, a start, a statement, a database that is behind Kafka.
my %leads = (
	records => [ qw(
		batch_polled batch_numbered before_late after_late before_lookup after_lookup before_compute after_compute before_append after_append
		batch_applied before_close after_close before_evict after_evict batch_outbox_written batch_positions_stored batch_stored
		batch_committed batch_before_wake publish_read publish_flushed kafka_begun kafka_produced kafka_delivered kafka_offsets_sent
		kafka_committed note_before note_written note_rows_deleted note_committed truncate_locked truncate_done) ],
	bad_records => [ qw(batch_rolled_back set_aside_before set_aside_inserted) ],
	retry => [ qw(retry_requested retry_read retry_locked retry_stored) ],
	partitions => [ qw(start_resolved start_stored) ],
	session => [ qw(
		outbox_before_rows outbox_rows_written outbox_committed transactions_read transactions_numbered transactions_begun
		transactions_flushed kafka_begun kafka_produced kafka_delivered kafka_offsets_sent kafka_committed transactions_published
		transactions_rows_deleted transactions_noted truncate_locked truncate_done) ],
	prepare => [ qw(outbox_before_rows outbox_rows_written outbox_prepared) ],
	commit_prepared => [ qw(transactions_read transactions_numbered transactions_begun transactions_published transactions_noted) ],
	publisher => [ qw(
		recover_read kafka_before_init kafka_offset_written kafka_offset_taken_back recover_fenced recover_metadata_read recover_note_read
		kafka_begun kafka_offsets_sent kafka_committed recover_owner_committed) ],
	publisher_and_session => [ qw(kafka_before_init kafka_offset_written kafka_offset_taken_back transactions_claim_in_kafka) ],
	crash => [ qw(
		launcher_before_start launcher_started process_has_slot process_connected supervisor_surveyed child_before_start child_started
		run_loaded run_consumer_open reload_emptied reload_chunk_applied reload_chunk_committed reload_refilled reload_sentinel_set
		reload_committed) ],
	behind => [ qw(redo_noted redo_loaded redo_batch_locked redo_note_deleted redo_committed) ],
	view => [ qw(
		create_pipeline_chosen create_relation_made create_row_inserted create_buffers_made commit_before_wakes start_resolved start_stored
		bootstrap_read bootstrap_stored bootstrap_committed first_rows_stored first_rows_committed) ],
	limited_view => [ qw(buffer_locked buffer_logged buffer_logging_committed) ],
	drop => [ qw(drop_before drop_forgotten commit_before_wakes) ],
	alter => [ qw(alter_checked alter_passed_on) ],
	rename => [ qw(rename_passed_on) ],
	alter_topic => [ qw(topic_altered) ],
	rename_server => [ qw(server_locked server_renamed) ],
	attach => [ qw(attach_locked attach_triggers_made attach_rows_written outbox_committed commit_before_wakes) ],
	detach => [ qw(detach_triggers_dropped commit_before_wakes) ],
	pause => [ qw(pause_stored) ],
	resume => [ qw(resume_stored) ],
	adopt => [ qw(identity_taken identity_bound) ],
	fork => [ qw(identity_taken identity_bound) ],
);

# How: each calls $arm when the point is to be armed, and may return a function that ends what it has begun.
my %begins = (
	records => sub { my ($world, $arm) = @_; $arm->(); feed($world, 120); return },
	bad_records => sub { my ($world, $arm) = @_; $arm->(); ask_questions($world, 2); return },
	retry => \&retry,
	partitions => \&add_partition,
	session => sub {
		my ($world, $arm) = @_;
		# those of the lead before may have been read already, and what is committed until their batch is made goes out with them
		wait_for_transactions($world);
		$arm->();
		return in_background($world, $insert_facts) },
	prepare => \&prepare,
	commit_prepared => \&commit_prepared,
	publisher => \&restart_publisher,
	publisher_and_session => sub { my ($world, $arm) = @_; restart_publisher($world, $arm); return in_background($world, $insert_facts) },
	crash => sub { my ($world, $arm) = @_; $world->{node}->stop('immediate'); $arm->(); $world->{node}->start; return },
	behind => \&go_back,
	view => sub { my ($world, $arm) = @_; my @change = make_views($world); $arm->(); return change($world, @change) },
	limited_view => sub { my ($world, $arm) = @_; my @change = limited_view($world); $arm->(); return change($world, @change) },
	drop => \&drop_views,
	alter => sub {
		my ($world, $arm) = @_;
		my $fill = 50 + ++$world->{number} % 50;
		$arm->();
		return change($world, "ALTER MATERIALIZED VIEW paid SET (fillfactor = $fill)",
			"EXISTS (SELECT FROM pg_class WHERE oid = 'paid'::regclass AND 'fillfactor=$fill' = ANY (reloptions))") },
	rename => sub {
		my ($world, $arm) = @_;
		$arm->();
		return change($world, 'BEGIN; ALTER MATERIALIZED VIEW minutes RENAME TO renamed; ALTER MATERIALIZED VIEW renamed RENAME TO minutes; COMMIT',
			q{to_regclass('minutes') IS NOT NULL}) },
	alter_topic => sub {
		my ($world, $arm) = @_;
		my $column = 'added_' . ++$world->{number};
		$arm->();
		return change($world, "ALTER FOREIGN TABLE orders ADD COLUMN $column int",
			"EXISTS (SELECT FROM pg_attribute WHERE attrelid = 'orders'::regclass AND attname = '$column')") },
	rename_server => sub {
		my ($world, $arm) = @_;
		wait_for_all($world);
		$arm->();
		return change($world, 'BEGIN; ALTER SERVER broker RENAME TO renamed; ALTER SERVER renamed RENAME TO broker; COMMIT',
			q{EXISTS (SELECT FROM pg_foreign_server WHERE srvname = 'broker')}) },
	attach => sub { my ($world, $arm) = @_; my @change = attach_sink($world); $arm->(); return change($world, @change) },
	detach => sub {
		my ($world, $arm) = @_;
		change($world, attach_sink($world))->();
		my $topic = pop @{ $world->{attached} };
		$arm->();
		return change($world, "SELECT kafka.detach_sink('paid', '$topic')",
			"NOT EXISTS (SELECT FROM kafka.sinks WHERE topic = to_regclass('$topic'))") },
	pause => sub {
		my ($world, $arm) = @_;
		my $paused = "(SELECT paused FROM kafka_state.pipeline WHERE name = 'shop')";
		$arm->();
		my $pause = change($world, q{SELECT kafka.pause('shop')}, $paused);
		return sub { $pause->(); change($world, q{SELECT kafka.resume('shop')}, "NOT $paused")->(); return } },
	resume => sub {
		my ($world, $arm) = @_;
		wait_for_all($world);
		my $batch = answer($world, q{SELECT published_batch FROM kafka.pipelines WHERE pipeline = 'shop'});
		$arm->();
		return change($world, "SELECT kafka.resume('shop', published => $batch)", 'true') },
	adopt => sub {
		my ($world, $arm) = @_;
		wait_for_all($world);
		$world->{node}->safe_psql('postgres', q{UPDATE kafka_state.identity SET system_identifier = '1'});
		$arm->();
		my $end = change($world, 'SELECT kafka.adopt()', q{(SELECT system_identifier <> '1' FROM kafka_state.identity)});
		# until Kafka has been asked, views refuse to be read
		return sub { $end->(); wait_for_all($world); return } },
	fork => sub {
		my ($world, $arm) = @_;
		my $token = q{(SELECT token FROM kafka_state.pipeline WHERE name = 'shop')};
		wait_for_all($world);
		my $before = answer($world, "SELECT $token");
		$arm->();
		my $end = in_background($world, 'SELECT kafka.fork()');
		# under new names nobody can tell what went out before a crash that the notes of it did not outlive
		return sub {
			$end->();
			wait_for_all($world);
			change($world, 'SELECT kafka.fork()', "$token <> '$before'")->();
			wait_for_all($world);
			return } },
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
my %no_error = map { $_ => 1 } qw(outbox_committed outbox_prepared commit_before_wakes kafka_committed);

# While the database is not adopted nothing starts, and nobody comes to a second point.
my %nobody_starts = (adopt => 1);

# These begin again after each crash, so that one kill leads to the next.
my %chained = map { $_ => 1 } qw(publisher crash behind);

# Lists all faults: [lead, point, action], those of a lead together. A conflict is one of a batch's statements.
sub all_faults
{
	my @faults;

	for my $lead (sort keys %leads)
	{
		for my $point (@{ $leads{$lead} })
		{
			push @faults, map { [ $lead, $point, $_ ] } grep {
				!($_ eq 'error' && $no_error{$point}) && !($_ eq 'kill twice' && $nobody_starts{$lead}) && !($_ eq 'conflict' && $point !~ /^(before|after)_|^batch_(numbered|applied|.*stored|outbox.*)$/) }
			  sort keys %actions;
		}
	}
	return @faults;
}

# Can the second fault be met on the way that the first one leads to?
sub can_be_chained
{
	my ($first, $second) = @_;

	return $chained{ $first->[0] } && $first->[0] eq $second->[0] && $first->[2] eq 'kill' && $second->[2] eq 'kill';
}

# Leads a process to the point and does the action to it; so with further faults, each on the way that the one before it leads to.
sub run_faults
{
	my ($world, @faults) = @_;
	my ($lead, $point, $action) = @{ $faults[0] };
	my $end = $begins{$lead}->($world, sub { arm($world, $point, $action) });

	for my $i (0 .. $#faults)
	{
		my $pid = who_stands($world, @{ $faults[$i] }[ 1, 2 ]);
		arm($world, @{ $faults[ $i + 1 ] }[ 1, 2 ]) if $i < $#faults;
		$actions{ $faults[$i][2] }->($world, $pid);
		unlink taken($world, $pid);
		# another one of those that died with it may have been there already
		$begins{$lead}->($world, sub { arm($world, @{ $faults[ $i + 1 ] }[ 1, 2 ]) }) if $i < $#faults && forget_dead($world);
	}
	$end->() if $end;
	return;
}

# Takes away the files of processes that are no more; tells whether there were any.
sub forget_dead
{
	my ($world) = @_;
	my @dead = grep { /(\d+)$/ && !kill 0, $1 } glob taken($world, '[0-9]*');

	return unlink @dead;
}

# Kills the process, and, in what that makes them do, whoever comes to a point which is only there.
sub kill_twice
{
	my ($world, $pid) = @_;
	my @points = ((grep { !/committed/ } @{ $leads{crash} }), grep { /^recover/ } @{ $leads{publisher} });
	my $point = $points[ int(rand(@points)) ];

	arm($world, $point, 'wait');
	$actions{kill}->($world, $pid);
	unlink taken($world, $pid);
	# one that came there while the postmaster ended everybody has died with the first: somebody else has to come
	while (forget_dead($world))
	{
		$world->{node}->stop('immediate');
		arm($world, $point, 'wait');
		$world->{node}->start;
	}
	$actions{kill}->($world, $pid = who_stands($world, $point, 'wait'));
	unlink taken($world, $pid);
	return;
}

# Ends a publisher that has nothing to do, so that it is the next one that comes to the point.
sub restart_publisher
{
	my ($world, $arm) = @_;

	wait_for_all($world);
	$arm->();
	kill_worker($world->{node}, 'publisher', 'TERM');
	return;
}

# Adds a partition to a topic that is read; the pipeline sees it when it goes on after a pause.
sub add_partition
{
	my ($world, $arm) = @_;

	# else it may see the partition before it is paused
	change($world, q{SELECT kafka.pause('answers')},
		q{(SELECT phase = 'paused' FROM kafka.pipelines WHERE pipeline = 'answers')})->();
	$arm->();
	$world->{broker}->add_partitions('questions', ++$world->{partitions});
	ask_questions($world, 0);
	return change($world, q{SELECT kafka.resume('answers')}, q{NOT (SELECT paused FROM kafka_state.pipeline WHERE name = 'answers')});
}

# Has dead letters tried again: questions that have an answer now, and some that have none.
sub retry
{
	my ($world, $arm) = @_;

	ask_questions($world, 2);
	wait_for_all($world);
	$world->{node}->safe_psql('postgres', 'INSERT INTO allowed VALUES (true)');
	$arm->();
	my $end = change($world, q{SELECT kafka.retry_dead_letters('answers')}, questions_answered($world));
	return sub { $end->(); wait_for_all($world); $world->{node}->safe_psql('postgres', 'DELETE FROM allowed'); return };
}

# Writes to the ordinary table in a transaction that two phases commit.
sub prepare
{
	my ($world, $arm) = @_;
	my $name = 'fault_' . ++$world->{number};

	$arm->();
	my $end = in_background($world, "BEGIN; $insert_facts; PREPARE TRANSACTION '$name'");
	return sub {
		$end->();
		change($world, "COMMIT PREPARED '$name'", "NOT EXISTS (SELECT FROM pg_prepared_xacts WHERE gid = '$name')")->()
		  if answer($world, "SELECT count(*) FROM pg_prepared_xacts WHERE gid = '$name'");
		return };
}

sub commit_prepared
{
	my ($world, $arm) = @_;
	my $name = 'fault_' . ++$world->{number};

	wait_for_all($world);
	$world->{node}->safe_psql('postgres', "BEGIN; $insert_facts; PREPARE TRANSACTION '$name'");
	$arm->();
	return change($world, "COMMIT PREPARED '$name'", "NOT EXISTS (SELECT FROM pg_prepared_xacts WHERE gid = '$name')");
}

# Brings the database back to where it was before the last records were applied and published.
sub go_back
{
	my ($world, $arm) = @_;
	my $node = $world->{node};
	my $folder = $node->data_dir;

	wait_for_all($world);
	$node->stop('fast');
	system_or_bail('cp', '-a', $folder, "$folder.before");
	$node->start;
	feed($world, 120);
	wait_for_all($world);
	$node->stop('immediate');
	system_or_bail('rm', '-rf', $folder);
	rename "$folder.before", $folder or die "could not rename $folder.before: $!";
	$world->{set_back} = 1;
	$arm->();
	$node->start;
	# until then views refuse to be read
	return sub { wait_for_all($world); return };
}

# Drops views, of which one is the last of its pipeline.
sub drop_views
{
	my ($world, $arm) = @_;

	change($world, make_views($world))->();
	my ($named, $over) = splice @{ $world->{more} }, -2;
	$arm->();
	return change($world, "DROP MATERIALIZED VIEW $over, $named", "to_regclass('$over') IS NULL");
}

# Gives statement and condition for one more sink of a view.
sub attach_sink
{
	my ($world) = @_;
	my $topic = 'attached_' . ++$world->{number};

	$world->{broker}->create($topic, 2, 'retention.ms=-1');
	push @{ $world->{attached} }, $topic;
	return ("SELECT kafka.create_sink('paid', '$topic', ARRAY['order_id'])", "EXISTS (SELECT FROM kafka.sinks WHERE topic = to_regclass('$topic'))");
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

# The file of who has come to a point.
sub taken { my ($world, $pid) = @_; return $world->{node}->data_dir . "/kafka_fault.$pid" }

# Waits for somebody at the armed point; returns the pid. Who came there and was ended by something else leaves the place to the next one.
sub who_stands
{
	my ($world, $point, $action) = @_;

	return wait_until('a process at the fault point', sub {
		arm($world, $point, $action) if $action !~ /^(error|conflict)$/ && forget_dead($world);
		my ($file) = glob taken($world, '[0-9]*');
		return $file && $file =~ /(\d+)$/ && $1 }, 5_000);
}

# Lets who stands there go on.
sub release { my ($world) = @_; unlink glob taken($world, '[0-9]*'); return }

1;
