# A database of views that tables drive, over each other and with groups, is dumped and restored, the original goes away, and after
# kafka.adopt() the copy goes on as the same, exactly where the dump stood: changes that came meanwhile are applied to restored rows,
# copies of tables and states of groups, old and new values included; what was published is not published again.
use strict;
use warnings;
use KafkaViews;
use PostgreSQL::Test::Utils;
use Test::More;

my $broker = KafkaViews::Broker->shared;
my $node = new_node('main', broker => $broker);
my $dump = PostgreSQL::Test::Utils::tempdir . '/dump.sql';
my %query = (
	named => 'SELECT o.id, o.amount, c.name FROM orders o LEFT JOIN customers c ON c.id = o.customer',
	everybody => 'SELECT o.id, c.id AS customer, c.name FROM orders o FULL JOIN customers c ON c.id = o.customer',
	per_customer => 'SELECT customer, count(*) AS n, sum(amount) AS total, min(amount) AS least FROM orders GROUP BY customer',
	per_name => 'SELECT name, count(*) AS n, avg(amount) AS mean, array_agg(id ORDER BY id) AS ids FROM named GROUP BY name',
	by_count => 'SELECT n, count(*) AS customers FROM per_customer GROUP BY n');
my @views = qw(named everybody per_customer per_name by_count);

$broker->create($_, 2, 'retention.ms=-1') for qw(adopt_orders adopt_customers);
$broker->create('adopt_sums', 1, 'retention.ms=-1');
$broker->produce('adopt_orders', map { $_ . qq(\t{"customer": ${\ ($_ % 7)}, "amount": $_.5}) } 1 .. 50);
$broker->produce('adopt_customers', map { $_ . qq(\t{"name": "n${\ ($_ % 3)}"}) } 0 .. 5);
$node->safe_psql('postgres', 'CREATE DATABASE shop');
$node->safe_psql('shop', join "\n", 'CREATE EXTENSION kafka_views;',
	"CREATE SERVER broker FOREIGN DATA WRAPPER kafka OPTIONS (bootstrap_servers '${\ $broker->address}');", q{
	CREATE FOREIGN TABLE orders (id int OPTIONS (key 'true'), customer int, amount numeric) SERVER broker OPTIONS (topic 'adopt_orders', mode 'upsert');
	CREATE FOREIGN TABLE customers (id int OPTIONS (key 'true'), name text) SERVER broker OPTIONS (topic 'adopt_customers', mode 'upsert');
	CREATE FOREIGN TABLE sums (customer int OPTIONS (key 'true'), total numeric) SERVER broker OPTIONS (topic 'adopt_sums', mode 'upsert');
	BEGIN;}, (map { "CREATE MATERIALIZED VIEW $_ WITH (kafka.continuous, kafka.pipeline = 'shop') AS $query{$_};" } @views),
	q{SELECT kafka.attach_sink('per_customer', 'sums');}, 'COMMIT;');
wait_for_view($node, 'by_count', 'shop');
my @published = wait_for_sink($broker, 'adopt_sums', 7);

$node->run_log([ 'pg_dump', '-f', $dump, $node->connstr('shop') ]);
$node->safe_psql('postgres', 'DROP DATABASE shop WITH (FORCE)');
# while nobody reads: references move, groups empty and begin, and a scale changes
$broker->produce('adopt_orders', (map { $_ . qq(\t{"customer": ${\ ($_ % 5)}, "amount": $_}) } 1 .. 10), "11\t\\N", "12\t\\N", map { 7 * $_ . "\t\\N" } 2 .. 7);
$broker->produce('adopt_customers', qq(0\t{"name": "n9"}), "3\t\\N", qq(6\t{"name": "n0"}));

$node->safe_psql('postgres', 'CREATE DATABASE shop');
$node->command_ok([ 'psql', '-X', '-q', '-v', 'ON_ERROR_STOP=1', '-f', $dump, $node->connstr('shop') ], 'the dump restores without an error');
is($node->safe_psql('shop', q{SELECT count(*) FROM pg_stat_activity WHERE datname = 'shop' AND backend_type ~ 'kafka_views (worker|publisher)'}), 0, 'nothing starts by itself');
my $stood = $node->safe_psql('shop', 'SELECT sum(next_offset) FROM kafka_state.position');
is($stood, 56, 'it stands where the dump stood');
$node->safe_psql('shop', 'SELECT kafka.adopt()');
wait_for_view($node, 'by_count', 'shop');
for my $view (@views)
{
	is($node->safe_psql('shop', "SELECT count(*) FROM kafka.verify('$view')"), 0, "$view is verified");
	is($node->safe_psql('shop', "SELECT count(*) FROM ((SELECT t::text FROM $view t EXCEPT ALL SELECT q::text FROM ($query{$view}) q)
		UNION ALL (SELECT q::text FROM ($query{$view}) q EXCEPT ALL SELECT t::text FROM $view t)) d"), 0, "$view equals its query");
}
is($node->safe_psql('shop', 'SELECT start_offset FROM kafka_state.position ORDER BY 1 DESC LIMIT 1'), 0, 'no position was made anew');
wait_until('the sink to be the view', sub {
	return $node->safe_psql('shop', 'SELECT count(*) FROM ((SELECT customer, total::text FROM sums EXCEPT ALL SELECT customer, total::text FROM per_customer)
		UNION ALL (SELECT customer, total::text FROM per_customer EXCEPT ALL SELECT customer, total::text FROM sums)) d') == 0;
});
my @now = $broker->consume('adopt_sums');
is_deeply([ @now[ 0 .. $#published ] ], \@published, 'what was published stands');
my (%last, @again);
for (@now)
{
	my ($key, $value) = (split /\t/)[ 3, 4 ];
	push @again, $_ if ($last{$key} // '') eq $value;
	$last{$key} = $value;
}
is("@again", '', 'and only groups that have changed are published after it');

$broker->produce('adopt_orders', qq(99\t{"customer": 1, "amount": 0.001}));
wait_for_view($node, 'by_count', 'shop');
is($node->safe_psql('shop', "SELECT count(*) FROM kafka.verify('per_customer')"), 0, 'and so it goes on');
is($node->safe_psql('shop', 'SELECT count(*) FROM kafka_state.dead_letter'), 0, 'without dead letters');

$node->stop;
done_testing();
