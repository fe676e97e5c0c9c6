# A worker begins a new run when something has changed that its pipeline is made of, and goes on with the one it has when something else has:
# another server, another role's user mapping, or so much DDL at once that Postgres only tells it that anything may have changed.

use strict;
use warnings;
use KafkaViews;
use Test::More;

my $broker = KafkaViews::Broker->shared;
my $node = new_node('main', broker => $broker);
my ($pid, $produced) = (0, 0);
# more invalidations in one commit than the queue has room for
my $much = "DO \$\$ BEGIN FOR i IN 1 .. 300 LOOP EXECUTE format('CREATE TABLE much_%s AS SELECT 1 a, 2 b, 3 c, 4 d', i);"
  . " EXECUTE format('DROP TABLE much_%s', i); END LOOP; END \$\$;";

sub query { return $node->safe_psql('postgres', $_[0]) }
# each run has a client of its own, with its threads
sub run { return join ' ', grep { !m{/$pid$} } glob "/proc/$pid/task/*" }

# Has a batch run, which hears of all that has been committed before.
sub batch
{
	$produced++;
	$broker->produce('elsewhere', "k\t{\"id\":$produced}");
	wait_for_view($node, 'v');
	return;
}

sub goes_on
{
	my ($what, $statements) = @_;
	my $before = run();

	query($statements);
	batch();
	is(run(), $before, "$what: the run goes on");
	return;
}

sub begins_anew
{
	my ($what, $statements) = @_;
	my $before = run();

	query($statements);
	wait_until("another run after: $what", sub { run() ne $before });
	batch();
	pass("$what: another run");
	return;
}

$broker->create('elsewhere', 1);
query(<<~'SQL');
	CREATE ROLE other;
	CREATE FOREIGN DATA WRAPPER nothing;
	CREATE FOREIGN TABLE elsewhere (id int) SERVER broker OPTIONS (topic 'elsewhere');
	CREATE MATERIALIZED VIEW v WITH (kafka.continuous) AS SELECT id FROM elsewhere;
	SQL
batch();
$pid = worker_pid($node, 'kafka_views worker v');
goes_on('a server of another wrapper', 'CREATE SERVER nothing FOREIGN DATA WRAPPER nothing');
goes_on('a mapping there', q{CREATE USER MAPPING FOR CURRENT_USER SERVER nothing OPTIONS (a 'b')});
goes_on('a mapping of another role', q{CREATE USER MAPPING FOR other SERVER broker});
goes_on('much DDL', $much);
begins_anew('an option of the server', q{ALTER SERVER broker OPTIONS (ADD client_id 'elsewhere')});
begins_anew('a mapping for everybody', 'CREATE USER MAPPING FOR PUBLIC SERVER broker');
begins_anew('a mapping for the owner', 'CREATE USER MAPPING FOR CURRENT_USER SERVER broker');
begins_anew('a column of the topic', 'ALTER FOREIGN TABLE elsewhere ADD COLUMN a int');
begins_anew('a column of the topic among much DDL', "BEGIN; ALTER FOREIGN TABLE elsewhere ADD COLUMN b int; $much COMMIT");
begins_anew('an option of the server among much DDL', "BEGIN; ALTER SERVER broker OPTIONS (SET client_id 'there'); $much COMMIT");
is(query('SELECT count(*) FROM v'), $produced, 'and nothing is lost or comes twice');
done_testing();
