# A change of owners or rights of the files while the server runs does not make it another one: its views can be read.

use strict;
use warnings;
use KafkaViews;
use PostgreSQL::Test::Utils;
use Test::More;

my $broker = KafkaViews::Broker->shared;
my $node = new_node('main', broker => $broker);

$broker->create("changed_$$", 1);
$node->safe_psql('postgres', <<~"SQL");
	CREATE FOREIGN TABLE input (id int) SERVER broker OPTIONS (topic 'changed_$$');
	CREATE FOREIGN TABLE output (id int) SERVER broker OPTIONS (topic 'changed_$$');
	CREATE MATERIALIZED VIEW passed WITH (kafka.continuous) AS SELECT id FROM input;
	SQL
$broker->produce("changed_$$", qq(\\N\t{"id":1}));
wait_for_view($node, 'passed');
is($node->safe_psql('postgres', 'TABLE passed'), '1', 'at first');
# the time of a change has seconds
my $made = (stat $node->data_dir . '/PG_VERSION')[10];
wait_until('the next second', sub { return time > $made });
system('chown', '-R', '--reference=' . $node->data_dir . '/PG_VERSION', $node->data_dir) == 0 or die;
$broker->produce("changed_$$", qq(\\N\t{"id":2}));
wait_for_view($node, 'passed');
is($node->safe_psql('postgres', 'SELECT count(*) FROM passed'), '2', 'after chown -R of a running server, to the owner it has, its views can be read');
$node->restart;
wait_until('the view to be read after a restart', sub { return ($node->psql('postgres', 'TABLE passed'))[2] eq '' });
pass('after a restart');

done_testing();
