# A view over a view is created, and a standby has it but not its first rows when it is promoted. If the lost server had published them they are
# computed again and not published again; if it had not they are published, though what it published otherwise is not.

use strict;
use warnings;
use KafkaViews;
use PostgreSQL::Test::Utils;
use Test::More;

my $broker = KafkaViews::Broker->new;

sub ids { my ($topic) = @_; return join ' ', sort { $a <=> $b } map { /(\d+)/ } $broker->consume($topic, format => '%v') }

for my $case (qw(published unpublished))
{
	my ($input, $upper, $lower, $late) = map { "${_}_$case" } qw(input upper lower late);
	my $node = new_node($case, broker => $broker, conf => "kafka.instance = '$case'", init => [ allows_streaming => 1 ]);
	my $feed = sub { $broker->produce($input, map { '\N' . qq(\t{"id":$_,"at":${\ ($_ * 1000)}}) } @_) };

	$broker->create($_, 1, 'retention.ms=-1') for $input, $upper, $lower, $late;
	$node->safe_psql('postgres', "CREATE FOREIGN TABLE f_$_ (id int, at timestamptz) SERVER broker OPTIONS (topic '$_', event_time 'at')") for $input, $upper, $lower, $late;
	$node->safe_psql('postgres', qq{
		BEGIN;
		CREATE MATERIALIZED VIEW u WITH (kafka.continuous) AS SELECT id, at FROM f_$input;
		SELECT kafka.attach_sink('u', 'f_$upper');
		COMMIT;
	});
	$feed->(1 .. 3);
	wait_for_view($node, 'u');
	$node->backup('base');
	my $standby = PostgreSQL::Test::Cluster->new("standby_$case");
	$standby->init_from_backup($node, 'base', has_streaming => 1);
	$standby->start;

	# the worker stands while the standby gets the view, and is away
	my $worker = kill_worker($node, 'kafka_views worker', 'STOP');
	$node->safe_psql('postgres', qq{
		BEGIN;
		CREATE MATERIALIZED VIEW v WITH (kafka.continuous) AS SELECT id + 0 AS id, at FROM u;
		SELECT kafka.attach_sink('v', 'f_$lower');
		COMMIT;
	});
	$node->wait_for_catchup($standby);
	$standby->stop;
	# a batch goes out all the same
	$node->safe_psql('postgres', "SELECT kafka.attach_sink('u', 'f_$late')");
	wait_for_sink($broker, $late, 3);
	if ($case eq 'published')
	{
		kill 'CONT', $worker;
		$feed->(4, 5);
		wait_for_view($node, 'v');
	}
	my $before = $case eq 'published' ? '1 2 3 4 5' : '';
	is(ids($lower), $before, "$case: the first rows");
	$node->stop('immediate');

	$standby->start;
	$standby->promote;
	wait_for_view($standby, 'v');
	is(ids($lower), $before || '1 2 3', "$case: after the failover they are there, once");
	$feed->(6, 7);
	wait_for_view($standby, 'v');
	is(ids($lower), ($before || '1 2 3') . ' 6 7', "$case: and what comes after");
	is(ids($upper), ($before || '1 2 3') . ' 6 7', "$case: the view above is published once");
	is($standby->safe_psql('postgres', "SELECT string_agg(id::text, ' ' ORDER BY id) FROM v"), ids($lower), "$case: the view has the same");
	$standby->stop;
}

done_testing();
