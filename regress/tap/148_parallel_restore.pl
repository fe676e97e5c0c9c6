# A restore gives everything back in an order of its own, several tables at once, rights last: pg_restore --jobs of a database whose views belong to a role that was
# only granted its sinks. Nothing is missing afterwards, nothing starts before the database knows that it is a copy, and after kafka.adopt() every change
# goes out once, from where the dump stood.
use strict;
use warnings;
use FindBin;
use lib $FindBin::RealBin;
use KafkaViews;
use PostgreSQL::Test::Utils;
use Test::More;

my $broker = KafkaViews::Broker->shared;
my $node = new_node('main', broker => $broker, extension => 0);
my $folder = PostgreSQL::Test::Utils::tempdir;
my $running = q{SELECT count(*) FROM pg_stat_activity WHERE datname = 'shop' AND backend_type ~ 'kafka_views (worker|publisher)'};

$broker->create($_, 1, 'retention.ms=-1') for qw(pj_orders pj_even pj_passed pj_notes);
$broker->create('pj_sums', 1, 'cleanup.policy=compact');
$broker->produce('pj_orders', map { qq({"id": $_, "k": ${\ ($_ % 3)}}) } 1 .. 30);
$node->safe_psql('postgres', 'CREATE DATABASE shop');
KafkaViews::add_extension($node, 'shop', $broker);
$node->safe_psql('shop', q{
	CREATE ROLE app;
	GRANT USAGE ON FOREIGN SERVER broker TO app;
	GRANT CREATE ON SCHEMA public TO app;
	CREATE FOREIGN TABLE orders (id int, k int) SERVER broker OPTIONS (topic 'pj_orders');
	CREATE FOREIGN TABLE sums (k int OPTIONS (key 'true'), n bigint) SERVER broker OPTIONS (topic 'pj_sums', mode 'upsert');
	CREATE FOREIGN TABLE passed_on (id int) SERVER broker OPTIONS (topic 'pj_passed');
	CREATE FOREIGN TABLE even_ones (id int) SERVER broker OPTIONS (topic 'pj_even');
	CREATE FOREIGN TABLE notes (id int) SERVER broker OPTIONS (topic 'pj_notes');
	GRANT SELECT ON orders TO app;
	GRANT INSERT, DELETE ON sums, passed_on, even_ones, notes TO app;
	SET ROLE app;
	CREATE TABLE papers (id int);
	CREATE TRIGGER tell AFTER INSERT ON papers FOR EACH ROW EXECUTE FUNCTION kafka.publish('notes');
	BEGIN;
	CREATE MATERIALIZED VIEW per_k WITH (kafka.continuous, kafka.pipeline = 'p') AS SELECT k, count(*) AS n FROM orders GROUP BY k;
	CREATE MATERIALIZED VIEW passed WITH (kafka.continuous, kafka.pipeline = 'p') AS SELECT id FROM orders;
	CREATE VIEW even WITH (kafka.continuous, kafka.pipeline = 'p') AS SELECT id FROM orders WHERE id % 2 = 0;
	SELECT kafka.attach_sink('per_k', 'sums'), kafka.attach_sink('passed', 'passed_on'), kafka.attach_sink('even', 'even_ones');
	COMMIT;
	INSERT INTO papers VALUES (1);
});
wait_for_view($node, 'per_k', 'shop');
wait_for_sink($broker, 'pj_notes', 1);

$node->command_ok([ 'pg_dump', '-Fc', '-f', "$folder/dump", $node->connstr('shop') ], 'it is dumped');
$node->safe_psql('postgres', 'DROP DATABASE shop WITH (FORCE)');
$broker->produce('pj_orders', map { qq({"id": $_, "k": ${\ ($_ % 3)}}) } 31 .. 60);

# the identity comes last: what is there before it must not start
$node->safe_psql('postgres', 'CREATE DATABASE shop');
my ($list) = run_command([ 'pg_restore', '-l', "$folder/dump" ]);
append_to_file("$folder/identity", join "\n", grep { /TABLE DATA kafka_state identity / } split /\n/, $list);
append_to_file("$folder/rest", join "\n", grep { !/TABLE DATA kafka_state identity / } split /\n/, $list);
$node->command_ok([ 'pg_restore', '-j', 4, '-L', "$folder/rest", '-d', $node->connstr('shop'), "$folder/dump" ], 'several jobs restore it without an error');
wait_until('the supervisor to say why nothing starts', sub {
	return $node->safe_psql('postgres', q{SELECT count(*) FROM pg_stat_activity WHERE datname = 'shop' AND backend_type ~ 'supervisor'}) > 0;
});
wait_until('the log to say it', sub { return slurp_file($node->logfile) =~ /this database is not the one that Kafka knows/ });
is($node->safe_psql('postgres', $running), 0, 'nothing starts without its identity');
$node->command_ok([ 'pg_restore', '-L', "$folder/identity", '-d', $node->connstr('shop'), "$folder/dump" ], 'the identity is restored');

$node->safe_psql('shop', 'SELECT kafka.adopt()');
$node->safe_psql('shop', 'INSERT INTO papers VALUES (2)');
wait_for_view($node, $_, 'shop') for qw(per_k passed even);
is($node->safe_psql('shop', qq{SELECT count(*) FROM kafka.verify('$_')}), 0, "$_ is verified") for qw(per_k passed);
is(join(' ', sort { $a <=> $b } map { /(\d+)/ } wait_for_sink($broker, 'pj_passed', 60, format => '%v')), join(' ', 1 .. 60), 'every row is out once');
is(join(' ', sort { $a <=> $b } map { /(\d+)/ } wait_for_sink($broker, 'pj_even', 30, format => '%v')), join(' ', map { 2 * $_ } 1 .. 30), 'of the unstored view too');
is(join(' ', map { /(\d+)/ } wait_for_sink($broker, 'pj_notes', 2, format => '%v')), '1 2', 'and what an ordinary table tells');
my %last = map { split /\t/ } wait_for_sink($broker, 'pj_sums', 6, format => '%k\t%v');
is(join(' ', map { $last{$_} =~ /"n":(\d+)/ } sort keys %last), '20 20 20', 'the keyed sink has the view');

$node->stop;
done_testing();
