# Windows are closed once, whatever dies between the arrival of their records and their closing: the open groups, the frontier
# and what has been closed are one state. A row that is late stays so after a restart, because the frontier never goes back.
# Partitions that are idle close windows without a record; an event in the far future closes none.

use strict;
use warnings;
use KafkaViews;
use PostgreSQL::Test::Utils;
use Test::More;

my $broker = KafkaViews::Broker->shared;
my $node = new_node('main', broker => $broker, conf => "kafka.idle_timeout = 0");
my $topic = 'closing_clicks';

sub query { return $node->safe_psql('postgres', $_[0]) }
sub click
{
	my ($partition, @seconds) = @_;
	$broker->produce($topic, map { sprintf 'partition=%d k	{"at":"2024-01-01 00:00:%02d+00"}', $partition, $_ } @seconds);
	return;
}

# Windows as "0-10:2 10-20:1": start, end and count.
sub windows
{
	my ($table) = @_;
	return query("SELECT string_agg(format('%s-%s:%s', extract(second FROM lower(during))::int, extract(second FROM upper(during))::int, n), ' ' ORDER BY during) FROM $table");
}
sub messages { return scalar $broker->consume('closing_facts') }

# Two pipelines, each at its own pace: what is asked of both waits for both.
sub wait_for_both { wait_for_view($node, $_) for 'finals', 'open_ones'; return }

$broker->create($_, 2, 'retention.ms=-1') for $topic, 'closing_facts';
query(<<~"SQL");
	CREATE FOREIGN TABLE clicks (at timestamptz) SERVER broker OPTIONS (topic '$topic', event_time 'at');
	CREATE FOREIGN TABLE facts (during tstzrange, n bigint) SERVER broker OPTIONS (topic 'closing_facts');
	BEGIN;
	CREATE MATERIALIZED VIEW finals WITH (kafka.continuous, kafka.emit = 'final') AS
	  SELECT kafka.tumble(at, '10 s') AS during, upper(kafka.tumble(at, '10 s')) AS until, count(*) AS n FROM clicks GROUP BY during;
	CREATE MATERIALIZED VIEW open_ones WITH (kafka.continuous, kafka.grace = '0') AS
	  SELECT kafka.tumble(at, '10 s') AS during, count(*) AS n FROM clicks GROUP BY during;
	CREATE TRIGGER facts AFTER INSERT ON finals REFERENCING NEW TABLE AS new FOR EACH STATEMENT EXECUTE FUNCTION kafka.publish('facts');
	COMMIT;
	SQL
click(1, 1);
click(0, 2, 5, 12);
wait_for_view($node, 'finals');
is(windows('finals'), '', 'the slower partition holds the window open');

kill_worker($node, 'worker');
click(1, 3, 11);
wait_for_view($node, 'finals');
is(windows('finals'), '0-10:4', 'a worker that was killed before the closing closes it after its restart');

kill_worker($node, 'worker');
click(1, 4);
wait_for_view($node, 'open_ones');
is(windows('open_ones'), '0-10:4 10-20:2', 'a row for a closed window is late for the next worker, too');

$node->kill9;
restart_after_crash($node);
click(0, 13, 21);
click(1, 22);
wait_for_both();
is(windows('finals'), '0-10:4 10-20:3', 'and after a crash the open groups are there');
is(query('SELECT count(*) FROM kafka.verify(\'finals\')'), '2', 'kafka.verify shows the late row');
is(query('SELECT sum(late_rows) FROM kafka.views'), '2', 'which is counted, by each of both views');

# a record without an end to its window: it is a dead letter
$broker->produce($topic, qq(partition=0 k\t{"at":"2999-01-01 00:00:00+00"}), qq(partition=1 k\t{"at":"2999-01-01 00:00:00+00"}));
wait_for_view($node, 'finals');
is(windows('finals'), '0-10:4 10-20:3', 'an event in the far future closes nothing');

# idle partitions
click(0, 35);
wait_for_view($node, 'finals');
is(windows('finals'), '0-10:4 10-20:3', 'a partition without records holds windows open');
$node->append_conf('postgresql.conf', "kafka.idle_timeout = '200ms'");
$node->reload;
# the other one gets a record now and then, so it is not idle
my $second = 35;
wait_until('the window to close', sub { click(0, $second++ % 25 + 35); windows('finals') =~ / 20-30:2/ });
pass('until it has been idle for kafka.idle_timeout');
wait_for_view($node, 'finals');
my @closed = split / /, windows('finals');
wait_until('the messages', sub { messages() >= @closed });
is(messages(), scalar @closed, 'each window was published once');

$node->restart;
wait_for_view($node, 'finals');
is(windows('finals'), "@closed", 'nothing closes twice or again after a restart');
is(messages(), scalar @closed, 'nor is it published again');
done_testing();
