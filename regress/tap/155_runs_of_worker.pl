# A worker begins a new run whenever a definition has changed, for as long as the server lives: a run leaves no file
# behind in the process.

use strict;
use warnings;
use KafkaViews;
use Test::More;

my $broker = KafkaViews::Broker->shared;
my $node = new_node('main', broker => $broker);
my $pid;

sub query { return $node->safe_psql('postgres', $_[0]) }
# each run has a client of its own, with its threads
sub threads { return join ' ', grep { !m{/$pid$} } glob "/proc/$pid/task/*" }
sub files { return scalar grep { (readlink($_) // '') =~ $_[0] } glob "/proc/$pid/fd/*" }

$broker->create('runs', 1);
query(<<~'SQL');
	CREATE FOREIGN TABLE runs (id int) SERVER broker OPTIONS (topic 'runs');
	CREATE MATERIALIZED VIEW v WITH (kafka.continuous) AS SELECT id FROM runs;
	SQL
$broker->produce('runs', "k\t{\"id\":1}");
wait_for_view($node, 'v');
$pid = worker_pid($node, 'kafka_views worker v');
# but those of tables, which Postgres keeps open
my $other = qr{^(?!.*/(base|global)/)};
my ($polls, $all) = (files(qr/eventpoll/), files($other));
for my $run (1 .. 20)
{
	my $before = threads();

	query("ALTER FOREIGN TABLE runs ADD COLUMN column_$run int");
	wait_until('another run', sub { threads() ne $before });
	$broker->produce('runs', "k\t{\"id\":$run}");
	wait_for_view($node, 'v');
}
is(worker_pid($node, 'kafka_views worker v'), $pid, 'one process has made all runs');
cmp_ok(files(qr/eventpoll/), '<=', $polls, 'no set of events is left of them');
# a connection may be under way: it goes, a file that a run has left does not
wait_until('the other files to be no more than at first', sub { files($other) <= $all + 3 });
pass('nor any other file');
done_testing();
