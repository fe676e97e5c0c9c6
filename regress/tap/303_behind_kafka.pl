# A standby that lags is promoted, and a cluster is brought back from a backup to a moment before its last publication: Kafka has more
# than Postgres then. What was published is applied again and not published again, reads of the views are refused meanwhile, and
# from there it goes on: every change is in the sinks once. What the new server writes by ordinary transactions arrives, whatever
# numbers its predecessor has given.

use strict;
use warnings;
use KafkaViews;
use Shop;
use PostgreSQL::Test::Utils;
use Test::More;

my $broker = KafkaViews::Broker->new;
my $primary = new_node('primary', broker => $broker, conf => "kafka.instance = 'shop'\nkafka.batch_rows = 50", init => [ allows_streaming => 1, has_archiving => 1 ]);

open_shop($primary, $broker);
$broker->create($_, 1, 'retention.ms=-1') for qw(notes closed);
$primary->safe_psql('postgres', q{
	CREATE FOREIGN TABLE notes (id int) SERVER broker OPTIONS (topic 'notes');
	CREATE FOREIGN TABLE closed_sink (second timestamptz OPTIONS (key 'true'), n bigint) SERVER broker OPTIONS (topic 'closed');
	BEGIN;
	CREATE MATERIALIZED VIEW closed WITH (kafka.continuous, kafka.emit = 'final', kafka.grace = '3 minutes') AS
	  SELECT date_bin('10 s', created_at, '2000-01-01') AS second, count(*) AS n FROM orders GROUP BY 1;
	SELECT kafka.attach_sink('closed', 'closed_sink');
	COMMIT;
});
$primary->backup('base');
my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($primary, 'base', has_streaming => 1);
$standby->start;

feed_shop($broker, 1, 300);
wait_for_view($primary, $_) for qw(paid totals closed);
$primary->safe_psql('postgres', 'INSERT INTO notes VALUES (1)');
wait_for_sink($broker, 'notes', 1);
wait_until('the first note to be out', sub {
	$primary->safe_psql('postgres', 'SELECT published FROM kafka_state.transaction_batch') eq 't' });

$primary->safe_psql('postgres', q{SELECT pg_create_restore_point('early')});

# paused on the standby, so that it is seen before it has caught up
$primary->safe_psql('postgres', q{SELECT kafka.pause(pipeline) FROM kafka.pipelines});
$primary->safe_psql('postgres', q{SELECT pg_create_restore_point('before')});
$primary->wait_for_catchup($standby);
$standby->stop;
$primary->safe_psql('postgres', q{SELECT kafka.resume(pipeline) FROM kafka.pipelines});
feed_shop($broker, 301, 700);
wait_for_view($primary, $_) for qw(paid totals closed);
for my $id (2 .. 4)
{
	$primary->safe_psql('postgres', "INSERT INTO notes VALUES ($id)");
	wait_for_sink($broker, 'notes', $id);
}
my $segment = $primary->safe_psql('postgres', 'SELECT pg_walfile_name(pg_switch_wal())');
wait_until('the last WAL to be archived', sub {
	$primary->safe_psql('postgres', 'SELECT last_archived_wal FROM pg_stat_archiver') ge $segment });
$primary->stop('immediate');

# Every window that has closed is in the sink once, as it is in the view.
sub check_windows
{
	my ($node, $what) = @_;

	wait_for_view($node, 'closed');
	my $rows = $node->safe_psql('postgres', 'SELECT extract(epoch FROM second)::bigint, n FROM closed ORDER BY 1');
	my @messages = $node->safe_psql('postgres', 'SELECT extract(epoch FROM second)::bigint, n FROM closed_sink ORDER BY 1');
	is(join("\n", @messages), $rows, "$what: every closed window once");
	is($node->safe_psql('postgres', q{SELECT * FROM kafka.verify('closed')}), '', "$what: and they equal their query");
	return;
}

# Checks what a server that is behind does, and that it goes on; orders 1 .. before are there.
sub check_redo
{
	my ($node, $before, $after, $what) = @_;

	wait_until("$what: the publisher to find out what Kafka has", sub { $node->safe_psql('postgres', 'SELECT count(*) FROM kafka_state.redo') eq '3' });
	is(scalar(lines_of_loss($node)), 3, "$what: the log says it of each pipeline once");
	for my $query ('SELECT count(*) FROM paid', 'SELECT 1 FROM pg_class, totals LIMIT 1', 'COPY totals TO STDOUT')
	{
		my ($status, undef, $error) = $node->psql('postgres', $query);
		like($error, qr/continuous view "(paid|totals)" is behind what has been published from it/, "$what: refused: $query");
	}
	is($node->safe_psql('postgres', 'SET kafka.allow_incomplete_reads = on; SELECT sum(orders) FROM totals'), 300, "$what: and allowed with the setting");
	my ($status, undef, $error) = $node->psql('postgres', q{SELECT kafka.attach_sink('paid', 'emails')});
	like($error, qr/is behind what has been published from it/, "$what: no sink is attached meanwhile");
	is($node->safe_psql('postgres', q{SELECT DISTINCT phase FROM kafka.pipelines}), 'paused', "$what: it was paused");

	# numbers that the predecessor gave are not given again
	$node->safe_psql('postgres', "INSERT INTO notes VALUES ($after)");
	wait_until("$what: the note to arrive", sub { return grep { $_ eq qq({"id":$after}) } $broker->consume('notes', format => '%v') });

	# a topic that has lost its last records is not waited for, and what comes in their place is not taken for them
	my $positions = $node->safe_psql('postgres', q{SELECT pipeline, positions FROM kafka_state.redo WHERE positions::text ~ 'payments'});
	my ($pipeline, $json) = split /\|/, $positions, 2;
	$node->safe_psql('postgres', qq{UPDATE kafka_state.redo SET positions = jsonb_path_query_array(positions, '\$[*] ? (\@.topic != "payments")')
		|| '[{"topic": "payments", "partition": 1, "offset": 1000000}]' WHERE pipeline = $pipeline});
	$node->safe_psql('postgres', q{SELECT kafka.resume(pipeline) FROM kafka.pipelines});
	wait_until("$what: the lost records to be missed", sub { $node->safe_psql('postgres', q{SELECT error FROM kafka.pipelines WHERE pipeline = 'paid'})
		eq 'topic "payments" partition 1 ends before the position of pipeline "paid"' });
	$node->safe_psql('postgres', "UPDATE kafka_state.redo SET positions = '$json' WHERE pipeline = $pipeline");
	check_shop($node, $broker, $before, "$what, redone");
	check_windows($node, "$what, redone");
	is($node->safe_psql('postgres', 'SELECT count(*) FROM kafka_state.redo'), 0, "$what: nothing is left to be done again");
	feed_shop($broker, $before + 1, $after);
	check_shop($node, $broker, $after, "$what, going on");
	check_windows($node, "$what, going on");
	return;
}

$standby->start;
$standby->promote;
check_redo($standby, 700, 900, 'promoted');
$standby->stop;

# Brings the primary back from its backup as it was at a restore point.
sub bring_back
{
	my ($name) = @_;
	my $node = PostgreSQL::Test::Cluster->new("at_$name");

	$node->init_from_backup($primary, 'base', has_restoring => 1, standby => 0);
	$node->append_conf('postgresql.conf', "recovery_target_name = '$name'\nrecovery_target_timeline = 'current'\nrecovery_target_action = 'promote'");
	$node->start;
	wait_until('the end of recovery', sub { my (undef, $ended) = ask($node, 'postgres', 'SELECT NOT pg_is_in_recovery()'); return ($ended // '') eq 't' });
	return $node;
}

my $restored = bring_back('before');
check_redo($restored, 900, 1000, 'brought back');
$restored->stop;

# the same where nothing holds the workers back but that the publisher is asked first
$restored = bring_back('early');
check_shop($restored, $broker, 1000, 'brought back at once');
check_windows($restored, 'brought back at once');
feed_shop($broker, 1001, 1100);
check_shop($restored, $broker, 1100, 'brought back at once, going on');
check_windows($restored, 'brought back at once, going on');
$restored->stop;

done_testing();
