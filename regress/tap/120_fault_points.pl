# At every step of a batch and of a publication somebody is killed or stopped (Faults.pm): the process itself, the postmaster,
# Postgres, the broker; or the step fails. Whatever it was, views equal their queries, and sinks have every change once and in
# order.
#
# All of them take hours, so some are chosen at random: as many as fit into TIME seconds (90), or N of them, or N=all. The seed is
# printed; SEED=... chooses the same. FAULT=REGEX keeps to those whose name ("session kafka_committed: kill") matches. FAULT_INSTALL=DIR
# takes what scripts/fault-build made before.

use strict;
use warnings;
use Faults;
use KafkaViews;
use List::Util qw(shuffle);
use PostgreSQL::Test::Utils;
use Test::More;

my $seed = $ENV{SEED} // int(rand(1 << 31));
my $time = $ENV{TIME} // 90;
my $pattern = $ENV{FAULT} // '';
my $install = $ENV{FAULT_INSTALL} // build();

sub build
{
	my $dir = PostgreSQL::Test::Utils::tempdir('faults');
	my $path = qx("$ENV{KV_ROOT}/scripts/fault-build" "$dir");

	die 'scripts/fault-build failed' if $?;
	chomp $path;
	return $path;
}

srand($seed);
my @faults = grep { name($_) =~ /$pattern/ } all_faults();
my $all = @faults;
@faults = shuffle(@faults) if ($ENV{N} // '') ne 'all';
splice @faults, $ENV{N} if ($ENV{N} // 'all') ne 'all' && $ENV{N} < @faults;

sub name { my ($fault) = @_; return "$fault->[0] $fault->[1]: $fault->[2]" }

my $broker = KafkaViews::Broker->new;
# few records a batch, so that a wave is several; time stands still without records, so that a slow machine makes nothing late
my $node = new_node('main', broker => $broker, install_path => $install, conf => <<~'CONF');
	kafka.batch_rows = 50
	kafka.idle_timeout = 0
	CONF
my $world = open_world($node, $broker);
my $began = time;
my $done = 0;

for my $fault (@faults)
{
	last if !defined $ENV{N} && time - $began > $time;
	note(name($fault));
	my @wrong = run_fault($world, @$fault);
	$done++;
	# what is wrong now is wrong for the next ones too
	next if ok(!@wrong, name($fault));
	diag("SEED=$seed", map { "\n$_" } @wrong);
	BAIL_OUT(name($fault));
}
diag("SEED=$seed: $done of $all faults");
ok($done, 'faults were run');

done_testing();
