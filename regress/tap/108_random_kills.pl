# Whatever is killed or stopped, in any order, while records flow: worker, publisher, postmaster, Postgres, broker. The seed is
# printed; SEED=... repeats the choices, though not their moments.

use strict;
use warnings;
use KafkaViews;
use Shop;
use Test::More;

my $seed = $ENV{SEED} // int(rand(1 << 31));
srand($seed);
diag("SEED=$seed");

my $events = $ENV{EVENTS} // 5;
my $orders = 1000 * $events;
my $broker = KafkaViews::Broker->new;
my $node = new_node('main', broker => $broker, conf => 'kafka.batch_rows = ' . (10, 50, 100_000)[ int(rand(3)) ]);
my %event = (
	'kill -9 of the worker of the join' => sub { kill_worker($node, 'kafka_views worker paid'); restart_after_crash($node) },
	'kill -9 of the worker of the totals' => sub { kill_worker($node, 'kafka_views worker totals'); restart_after_crash($node) },
	'kill -9 of the publisher' => sub { kill_worker($node, 'publisher'); restart_after_crash($node) },
	'kill -9 of the postmaster' => sub { $node->kill9; restart_after_crash($node) },
	'SIGTERM to the publisher' => sub { kill_worker($node, 'publisher', 'TERM') },
	'a fast restart' => sub { $node->restart('fast') },
	'an immediate restart' => sub { $node->restart('immediate') },
	'kill -9 of the broker' => sub { $broker->kill; $broker->start },
	'two kills in a row' => sub {
		kill_worker($node, 'kafka_views worker paid'); restart_after_crash($node); $node->kill9; restart_after_crash($node) },
);

open_shop($node, $broker);
for my $i (1 .. $events)
{
	my $name = (sort keys %event)[ int(rand(scalar keys %event)) ];

	# the feeder cannot do without the broker: then its records are there before
	my $wait_for_feeder = feed_in_background($broker, 1 + 1000 * ($i - 1), 1000 * $i);
	$wait_for_feeder->() if $name =~ /broker/;
	wait_for_rows($node, 800 * ($i - 1) + int(rand(300)));
	note($name);
	$event{$name}->();
	$wait_for_feeder->() if $name !~ /broker/;
}
check_shop($node, $broker, $orders, 'after all of it');
check_nothing_lost($node, 'after all of it');

done_testing();
