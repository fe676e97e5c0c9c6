# At every step of a batch, of a publication and of a statement somebody is killed or stopped (Faults.pm): the process itself, the
# postmaster, Postgres, the broker; or the step fails. Whatever it was, views equal their queries, and sinks have every change once
# and in order.
#
# Every way to every point is gone and its process killed; what else can happen there takes hours, so that some of it is chosen at
# random: as many faults as fit into TIME seconds (60), or N of them, or N=all. The seed is printed; SEED=... chooses the same.
# FAULT=REGEX keeps to those whose name ("session kafka_committed: kill") matches. Everything is compared after EVERY (8) faults, so EVERY=1 tells
# which of them it was. FAULT_INSTALL=DIR takes what scripts/fault-build made before.

use strict;
use warnings;
use FaultWorld;
use Faults;
use KafkaViews;
use List::Util qw(shuffle uniq);
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes ();

# A world that has become so large is left for a new one, as comparing it takes its time.
my $large = 10_000;

my $seed = $ENV{SEED} // int(rand(1 << 31));
my $time = $ENV{TIME} // 60;
my $every = $ENV{EVERY} // 8;
my $pattern = $ENV{FAULT} // '';
my $install = $ENV{FAULT_INSTALL} // fault_build();

sub name { my ($fault) = @_; return "$fault->[0] $fault->[1]: $fault->[2]" }

# Puts kills into chains that one way leads through, and the chains in random order.
sub chains
{
	my @chains;

	for my $fault (@_)
	{
		if (@chains && @{ $chains[-1] } < $every && can_be_chained($chains[-1][-1], $fault)) { push @{ $chains[-1] }, $fault }
		else { push @chains, [$fault] }
	}
	return shuffle(@chains);
}

my ($world, $worlds, @uncompared, %reached);
my $done = 0;

# Makes a world of its own for what comes next.
sub new_world
{
	$world->{node}->stop('immediate') if $world;
	$world->{broker}->kill if $world;
	my $broker = KafkaViews::Broker->new;
	# few records a batch, so that a wave is several, which go out in parts; time stands still without records, so that a slow
	# machine makes nothing late; this machine does not lose what was written, and recovery would sync every file
	my $node = new_node('world_' . ++$worlds, broker => $broker, install_path => $install, conf => <<~'CONF');
		fsync = off
		kafka.batch_rows = 50
		kafka.idle_timeout = 0
		kafka.transaction_size = '4kB'
		max_prepared_transactions = 5
		CONF
	return open_world($node, $broker);
}

# Does faults, and compares where there have been enough since the last time.
sub do_faults
{
	my @faults = @_;

	$world = new_world() if !$world || $world->{orders} > $large && !@uncompared;
	my $before = Time::HiRes::time();
	my $names = join '; ', map { name($_) } @faults;

	eval { run_faults($world, @faults); 1 } or die "SEED=$seed $names: $@";
	note(sprintf '%s (%.1f s)', $names, Time::HiRes::time() - $before);
	push @uncompared, @faults;
	$done += @faults;
	$reached{"$_->[0] $_->[1]"} = 1 for @faults;
	compare() if @uncompared >= $every;
	return;
}

sub compare
{
	return if !@uncompared;
	my $before = Time::HiRes::time();

	feed($world, 30);
	write_facts($world);
	wait_for_all($world);
	my @wrong = check_world($world);
	my $what = join '; ', map { name($_) } splice @uncompared;

	if (!ok(!@wrong, $what))
	{
		diag("SEED=$seed", map { "\n$_" } @wrong);
		# what is wrong now is wrong for the next ones too
		BAIL_OUT($what);
	}
	drop_what_was_added($world);
	note(sprintf 'compared (%.1f s)', Time::HiRes::time() - $before);
	return;
}

srand($seed);
my @faults = grep { name($_) =~ /$pattern/ } all_faults();
my @kills = grep { $_->[2] eq 'kill' } @faults;
my @others = shuffle(grep { $_->[2] ne 'kill' } @faults);
my $all = @faults;
splice @others, $ENV{N} if ($ENV{N} // 'all') ne 'all' && $ENV{N} < @others;

do_faults(@$_) for chains(@kills);
my $began = time;
for my $fault (@others)
{
	last if !defined $ENV{N} && time - $began > $time;
	do_faults($fault);
}
compare();

my $ways = uniq(map { "$_->[0] $_->[1]" } @kills);
is(scalar(keys %reached), scalar(uniq(map { "$_->[0] $_->[1]" } @kills, @others[ 0 .. $done - @kills - 1 ])), 'every way to every point was gone');
diag(sprintf 'SEED=%s: %d fault points reached in %d ways and killed there, %d of %d faults done',
	$seed, scalar(uniq(map { $_->[1] } @kills)), $ways, $done, $all);

done_testing();
