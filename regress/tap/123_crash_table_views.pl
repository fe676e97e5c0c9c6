# Views that tables drive, over each other and with groups, go on exactly through crashes of the whole cluster in the middle of their
# batches: what was committed last may be gone, but then of results, copies of the tables, state of groups and positions together.
# Changes come before, while and after; in the end every view equals its query, and the sink of one, folded, is the view. The seed
# is printed.
use strict;
use warnings;
use KafkaViews;
use Test::More;

my $seed = $ENV{SEED} // int(rand(1 << 31));
srand($seed);
note("SEED=$seed");

my $broker = KafkaViews::Broker->new;
my $node = new_node('main', broker => $broker, conf => "kafka.batch_rows = 40\nwal_writer_delay = 10s");
my %query = (
	named => 'SELECT o.id, o.amount, c.name, t.country FROM orders o JOIN customers c ON c.id = o.customer LEFT JOIN cities t ON t.city = c.city',
	everybody => 'SELECT o.id, c.id AS customer, c.name FROM orders o FULL JOIN customers c ON c.id = o.customer',
	per_customer => 'SELECT customer, count(*) AS n, sum(amount) AS total, max(amount) AS most FROM orders GROUP BY customer',
	per_country => 'SELECT country, count(*) AS n, avg(amount) AS mean, array_agg(name ORDER BY id) AS names FROM named GROUP BY country',
	totals_named => 'SELECT p.customer, p.n, p.total, c.name, c.city FROM per_customer p LEFT JOIN customers c ON c.id = p.customer',
	by_count => 'SELECT n, count(*) AS customers, sum(total) AS total FROM per_customer GROUP BY n HAVING count(*) > 1');
my @views = qw(named everybody per_customer per_country totals_named by_count);

$broker->create($_, 2, 'retention.ms=-1') for qw(orders customers cities by_customer);
$node->safe_psql('postgres', <<~'SQL');
	CREATE FOREIGN TABLE orders (id int OPTIONS (key 'true'), customer int, amount numeric) SERVER broker OPTIONS (topic 'orders', mode 'upsert');
	CREATE FOREIGN TABLE customers (id int OPTIONS (key 'true'), name text, city text) SERVER broker OPTIONS (topic 'customers', mode 'upsert');
	CREATE FOREIGN TABLE cities (city text OPTIONS (key 'true'), country text) SERVER broker OPTIONS (topic 'cities', mode 'upsert');
	CREATE FOREIGN TABLE by_customer (customer int OPTIONS (key 'true'), n bigint, total numeric, name text) SERVER broker OPTIONS (topic 'by_customer', mode 'upsert');
	SQL
$node->safe_psql('postgres', join "\n", 'BEGIN;',
	(map { "CREATE MATERIALIZED VIEW $_ WITH (kafka.continuous, kafka.pipeline = 'tables') AS $query{$_};" } @views),
	q{SELECT kafka.attach_sink('totals_named', 'by_customer');}, 'COMMIT;');

# Some changes of each table; a tenth are deletions.
sub change
{
	my ($count) = @_;
	my $value = sub { rand() < 0.1 ? '\N' : sprintf $_[0], @_[ 1 .. $#_ ] };

	$broker->produce('orders', map { int(rand(150)) . "\t" . $value->('{"customer":%d,"amount":%.2f}', rand(40), rand(100)) } 1 .. $count);
	$broker->produce('customers', map { int(rand(40)) . "\t" . $value->('{"name":"n%d","city":"c%d"}', rand(9), rand(8)) } 1 .. $count / 4);
	$broker->produce('cities', map { 'c' . int(rand(8)) . "\t" . $value->('{"country":"%s"}', chr(65 + rand(4))) } 1 .. $count / 20);
	return;
}

sub check
{
	my ($when) = @_;

	wait_for_view($node, 'by_count');
	for my $view (@views)
	{
		is($node->safe_psql('postgres', "SELECT count(*) FROM kafka.verify('$view')"), 0, "$view is verified $when");
		is($node->safe_psql('postgres', "SELECT count(*) FROM ((SELECT t::text FROM $view t EXCEPT ALL SELECT q::text FROM ($query{$view}) q)
			UNION ALL (SELECT q::text FROM ($query{$view}) q EXCEPT ALL SELECT t::text FROM $view t)) d"), 0, "$view equals its query $when");
	}
	wait_until("the sink to be the view $when", sub {
		return $node->safe_psql('postgres', q{SELECT count(*) FROM ((SELECT s::text FROM by_customer s EXCEPT ALL SELECT (customer, n, total, name)::text FROM totals_named)
			UNION ALL (SELECT (customer, n, total, name)::text FROM totals_named EXCEPT ALL SELECT s::text FROM by_customer s)) d}) == 0;
	});
	pass("the sink is the view $when");
	return;
}

change(400);
for my $crash (1 .. 3)
{
	my $wanted = $node->safe_psql('postgres', 'SELECT coalesce(sum(next_offset), 0) FROM kafka_state.position') + 200;
	change(1000);
	wait_until('some records to be applied',
		sub { return $node->safe_psql('postgres', 'SELECT coalesce(sum(next_offset), 0) FROM kafka_state.position') >= $wanted });
	$node->stop('immediate');
	change(100);
	$node->start;
	check("after crash $crash") if $crash != 2;
}
is($node->safe_psql('postgres', 'SELECT count(*) FROM kafka_state.dead_letter'), 0, 'there are no dead letters');

$node->stop;
done_testing();
