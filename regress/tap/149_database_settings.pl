# What a database or a server has set for its sessions changes nothing for pipelines and publisher: they apply, set bad records aside and publish under
# settings that would end each of a session's transactions, or change what its statements mean.
use strict;
use warnings;
use FindBin;
use lib $FindBin::RealBin;
use KafkaViews;
use Test::More;

my $broker = KafkaViews::Broker->shared;
my $node = new_node('main', broker => $broker);
my @settings = (
	[ 'exit_on_error', 'on' ], [ 'plan_cache_mode', 'force_custom_plan' ], [ 'session_replication_role', 'replica' ],
	[ 'default_transaction_isolation', 'serializable' ], [ 'default_transaction_read_only', 'on' ], [ 'default_transaction_deferrable', 'on' ],
	[ 'statement_timeout', '1ms' ], [ 'lock_timeout', '1ms' ], [ 'idle_in_transaction_session_timeout', '1ms' ],
	[ 'search_path', '' ], [ 'row_security', 'off' ], [ 'transform_null_equals', 'on' ], [ 'array_nulls', 'off' ], [ 'standard_conforming_strings', 'off' ],
	[ 'datestyle', 'SQL, DMY' ], [ 'intervalstyle', 'sql_standard' ], [ 'extra_float_digits', '-15' ], [ 'bytea_output', 'escape' ],
	[ 'timezone', 'America/New_York' ], [ 'quote_all_identifiers', 'on' ], [ 'role', 'nobody' ]);

$broker->create($_, 2, 'retention.ms=-1') for qw(ds_orders ds_pays ds_even);
$broker->create('ds_sums', 1, 'cleanup.policy=compact');
$node->safe_psql('postgres', q{
	CREATE ROLE nobody;
	CREATE FOREIGN TABLE orders (id int, k text, at timestamptz) SERVER broker OPTIONS (topic 'ds_orders', event_time 'at');
	CREATE FOREIGN TABLE pays (id int, paid numeric, at timestamptz) SERVER broker OPTIONS (topic 'ds_pays', event_time 'at');
	CREATE FOREIGN TABLE sums (k text OPTIONS (key 'true'), n bigint, total numeric) SERVER broker OPTIONS (topic 'ds_sums', mode 'upsert');
	CREATE FOREIGN TABLE even_ones (id int) SERVER broker OPTIONS (topic 'ds_even');
	BEGIN;
	CREATE MATERIALIZED VIEW joined WITH (kafka.continuous, kafka.pipeline = 'p') AS
		SELECT o.id, o.k, p.paid, o.at FROM orders o JOIN pays p ON p.id = o.id AND p.at BETWEEN o.at AND o.at + interval '1 hour';
	CREATE MATERIALIZED VIEW per_k WITH (kafka.continuous, kafka.pipeline = 'p') AS SELECT k, count(*) AS n, sum(paid) AS total FROM joined GROUP BY k;
	CREATE VIEW even WITH (kafka.continuous, kafka.pipeline = 'p') AS SELECT id FROM orders WHERE id % 2 = 0;
	SELECT kafka.attach_sink('per_k', 'sums'), kafka.attach_sink('even', 'even_ones');
	COMMIT;
	SELECT kafka.wait_for_view('per_k');
});
$node->safe_psql('postgres', join '', map { "ALTER DATABASE postgres SET $_->[0] = '$_->[1]';\n" } @settings);
$node->restart;

# the test's own sessions are ordinary ones
$ENV{PGOPTIONS} = join ' ', '-c role=none -c search_path=public -c default_transaction_isolation=read\ committed', map { "-c $_" }
  qw(exit_on_error=off plan_cache_mode=auto session_replication_role=origin default_transaction_read_only=off statement_timeout=0 lock_timeout=0
	idle_in_transaction_session_timeout=0 transform_null_equals=off);
for my $from (1, 51)
{
	my @ids = $from .. $from + 49;
	$broker->produce('ds_orders', map { qq({"id": $_, "k": "it''s \\\\ ${\ ($_ % 3)}", "at": ${\ ($_ * 1000)}}) } @ids);
	$broker->produce('ds_orders', qq({"id": "bad", "at": ${\ ($from * 1000)}}));
	$broker->produce('ds_pays', map { qq({"id": $_, "paid": $_.5, "at": ${\ ($_ * 1000)}}) } @ids);
	wait_for_view($node, $_) for qw(per_k even);
	$node->stop('immediate'), $node->start if $from == 1;
}
is($node->safe_psql('postgres', "SELECT count(*) FROM kafka.verify('$_')"), 0, "$_ is verified") for qw(joined per_k);
is($node->safe_psql('postgres', 'SELECT count(*), sum(paid) FROM joined'), '100|5100.0', 'every record counts once');
is($node->safe_psql('postgres', q{SELECT count(*) FROM kafka.dead_letters WHERE relation = 'public.orders'::regclass}), 2, 'the bad ones are set aside');
is(join(' ', sort { $a <=> $b } map { /(\d+)/ } wait_for_sink($broker, 'ds_even', 50, format => '%v')), join(' ', map { 2 * $_ } 1 .. 50), 'every row is out once');

$node->stop;
done_testing();
