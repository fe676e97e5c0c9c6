# A partition whose leader cannot be reached from here, or that no broker serves, says nothing, as one without new records does; but it may have
# records that nobody sees. So it is not idle: it holds the views' time back as long as that lasts, kafka.pipelines says so, and its rows are not
# late when it is back.

use strict;
use warnings;
use KafkaViews;
use Test::More;

my ($broker, $other, $node);

sub query { return $node->safe_psql('postgres', $_[0]) }
sub windows
{
	return query("SELECT string_agg(format('%s-%s:%s', extract(second FROM lower(during))::int, extract(second FROM upper(during))::int, n), ' ' ORDER BY during) FROM windows");
}
sub event { my ($partition, $second) = @_; return qq(partition=$partition k\t{"at":"2024-01-01 00:00:$second+00"}) }
sub idle_timeout
{
	my ($timeout) = @_;
	$node->append_conf('postgresql.conf', "kafka.idle_timeout = '$timeout'");
	$node->reload;
	return wait_until('the setting', sub { query('SHOW kafka.idle_timeout') eq $timeout });
}

# Has the other one of two brokers go away, lets time go on in the partition that is left, and has it come back with a record of its own.
sub goes_away
{
	my ($what, $properties, $away, $error, $back) = @_;

	($broker, $other) = KafkaViews::Broker->pair(replication => 1, properties => $properties);
	$node = new_node($away, broker => $broker, conf => "kafka.idle_timeout = '10min'");
	query("ALTER SERVER broker OPTIONS (SET bootstrap_servers '" . $broker->address . ',' . $other->address . "')");
	$broker->create('leaderless', 2, 'retention.ms=-1');
	my %leads = map { my ($topic, $partition, $leader) = split /\t/; $topic eq 'leaderless' ? ($leader => $partition) : () } split /\n/, $broker->kv_kafka('', 'leaders');
	is(join(' ', sort keys %leads), '1 2', 'each broker has a partition');
	my ($here, $there) = @leads{1, 2};
	query(<<~'SQL');
		CREATE FOREIGN TABLE events (at timestamptz) SERVER broker OPTIONS (topic 'leaderless', event_time 'at');
		CREATE MATERIALIZED VIEW windows WITH (kafka.continuous, kafka.grace = '0') AS
		  SELECT kafka.tumble(at, '10 s') AS during, count(*) AS n FROM events GROUP BY during;
		SQL
	$broker->produce('leaderless', event($here, '01'), event($there, '02'));
	wait_for_view($node, 'windows');
	# it has not only its record: without the end behind it nobody knows that the next one is not to be waited for
	wait_until('the ends of both', sub { query('SELECT phase FROM kafka.pipelines') eq 'live' });

	$other->$away;
	my $expected = sprintf $error, $there;
	wait_until("the pipeline to notice: $what", sub { query(q{SELECT concat_ws('; ', error, error_detail) FROM kafka.pipelines}) eq $expected });
	pass("$what: the pipeline notices, and says why");
	idle_timeout('300ms');
	# each record, once it is counted, has had the other partition looked at; long after the timeout
	for my $second (30 .. 33)
	{
		$broker->produce('leaderless', event($here, $second));
		wait_until('the record to be counted', sub { windows() eq '0-10:2 30-40:' . ($second - 29) });
		my $then = query('SELECT clock_timestamp()');
		wait_until('more than the timeout', sub { query("SELECT clock_timestamp() > '$then'::timestamptz + interval '400 ms'") eq 't' });
	}
	cmp_ok(query('SELECT extract(epoch FROM coalesce(max(frontier), timestamptz \'2024-01-01 00:00:00+00\') - timestamptz \'2024-01-01 00:00:00+00\')::int FROM kafka.views'),
		'<=', 2, 'time stands where the partition is');
	isnt(query('SELECT error FROM kafka.pipelines'), '', 'and the pipeline still says so');

	# what it has, once it is back, is not waited for in vain
	idle_timeout('10min');
	$other->$back;
	wait_until('the leader to be back', sub { $broker->kv_kafka('', 'leaders') =~ /^leaderless\t$there\t2$/m });
	wait_until('the error to be over', sub { query('SELECT error IS NULL FROM kafka.pipelines') eq 't' });
	$broker->produce('leaderless', event($there, '05'));
	wait_until('its row', sub { windows() eq '0-10:3 30-40:4' || query('SELECT late_rows FROM kafka.views') > 0 });
	is(windows(), '0-10:3 30-40:4', 'its next row is not late');
	is(query('SELECT late_rows FROM kafka.views'), '0', 'and nothing was');
	$node->stop;
	$_->kill for $other, $broker;
	return;
}

goes_away('no leader', '', 'stop',
	'topic "leaderless" partition %d has no leader; No broker serves it, so its records are missing, and it holds the time of the views back.', 'start');
# one that stands still stays the leader for as long as the test may take
goes_away('a leader out of reach', 'broker.session.timeout.ms=600000', 'freeze',
	'could not reach the leader of topic "leaderless" partition %d; What has come there since is not known, so time does not go on without it.', 'thaw');
done_testing();
