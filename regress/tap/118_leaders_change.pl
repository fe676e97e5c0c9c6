# Two brokers: while a pipeline reads and publishes, one of them is stopped, started again, killed and started again, so that partitions, the
# coordinator of the groups and that of the transactions move to the other one and back. Nothing is lost, and nothing comes twice.

use strict;
use warnings;
use KafkaViews;
use Shop;
use Test::More;

my ($broker, $other) = KafkaViews::Broker->pair;
my $node = new_node('main', broker => $broker, conf => 'kafka.batch_rows = 50');
my $fed = 0;

# Gives the brokers that lead partitions of the topics.
sub leaders { my %led = map { (split /\t/)[2] => 1 } split /\n/, $broker->kv_kafka('', 'leaders'); return join ' ', sort keys %led }

$node->safe_psql('postgres', "ALTER SERVER broker OPTIONS (SET bootstrap_servers '" . $broker->address . ',' . $other->address . "')");
open_shop($node, $broker);
wait_until('both brokers to lead', sub { return leaders() eq '1 2' });
for my $way (qw(stop kill))
{
	my $end = feed_in_background($broker, $fed + 1, $fed + 500);

	$other->$way;
	wait_until('the first broker to lead all', sub { return leaders() eq '1' });
	pass("after $way the other broker leads");
	wait_for_rows($node, ($fed + 200) * 0.8);
	$other->start;
	wait_until('both brokers to lead again', sub { return leaders() eq '1 2' });
	$end->();
	$fed += 500;
	check_shop($node, $broker, $fed, "after $way");
}

done_testing();
