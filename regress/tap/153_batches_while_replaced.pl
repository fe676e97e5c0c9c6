# A server beside which a copy has taken its place makes batches of its own that move no position (tap/139 has those of sinks and dead letters): the first
# rows of a view over a view, and windows that time alone has closed. When the copy is gone for good the server cannot take its place back, for under
# these numbers the copy has published something else and the rows would go to nobody: it says so, after a restart too, and by the hint publishes them.

use strict;
use warnings;
use KafkaViews;
use Test::More;

my $broker = KafkaViews::Broker->new;
my $node = new_node('original', broker => $broker, conf => 'kafka.idle_timeout = 0', init => [ allows_streaming => 1 ]);
my $produced = 0;

sub query { return $node->safe_psql('postgres', $_[0]) }
sub messages { my ($topic, $re) = @_; return scalar(grep { /$re/ } $broker->consume($topic, format => '%v')) }

# Gives the pipelines that have an error of publishing with such a detail.
sub stopped
{
	my ($error, $detail) = @_;
	return query("SELECT string_agg(pipeline, ' ' ORDER BY pipeline) FROM kafka.pipelines WHERE publish_error ~ '$error' AND publish_error_detail ~ '$detail'");
}

sub feed { my ($count) = @_; $broker->produce('input', map { '\N' . qq(\t{"id":${\ (++$produced)},"at":${\ ($produced * 1000)}}) } 1 .. $count); return }
sub tick { my ($partition, $second) = @_; $broker->produce('ticks', qq(partition=$partition k\t{"at":"2024-01-01 00:00:$second+00"})); return }

$broker->create('ticks', 2, 'retention.ms=-1');
$broker->create($_, 1, 'retention.ms=-1') for qw(input output closed first);
query(<<~"SQL") for qw(input output first);
	CREATE FOREIGN TABLE $_ (id int, at timestamptz) SERVER broker OPTIONS (topic '$_', event_time 'at');
SQL
query(<<~'SQL');
	CREATE FOREIGN TABLE ticks (at timestamptz) SERVER broker OPTIONS (topic 'ticks', event_time 'at');
	CREATE FOREIGN TABLE closed (start timestamptz, n bigint) SERVER broker OPTIONS (topic 'closed');
	BEGIN;
	CREATE MATERIALIZED VIEW passed WITH (kafka.continuous) AS SELECT id, at FROM input;
	SELECT kafka.attach_sink('passed', 'output');
	COMMIT;
	BEGIN;
	CREATE MATERIALIZED VIEW counts WITH (kafka.continuous, kafka.emit = 'final', kafka.grace = '0 s') AS
	  SELECT date_bin('10 s', at, '2024-01-01') AS start, count(*) AS n FROM ticks GROUP BY 1;
	SELECT kafka.attach_sink('counts', 'closed');
	COMMIT;
SQL
feed(4);
# partition 0 is behind and holds the windows open; both are begun before one is far, so that nothing is late
tick($_, '01') for 0, 1;
wait_for_view($node, 'counts');
tick(1, '31');
wait_for_view($node, $_) for qw(passed counts);
my $copy = start_adopted_copy($node);

# nothing has come meanwhile, so the original has not seen it yet
query(<<~'SQL');
	BEGIN;
	CREATE MATERIALIZED VIEW after WITH (kafka.continuous) AS SELECT id, at FROM passed;
	SELECT kafka.attach_sink('after', 'first');
	COMMIT;
SQL
$node->append_conf('postgresql.conf', q(kafka.idle_timeout = '300ms'));
$node->reload;
wait_until('the first rows, and time to close the window', sub { query('SELECT (SELECT count(*) FROM after), (SELECT count(*) FROM counts)') eq '4|1' });
wait_until('the original to be replaced', sub { stopped('by a server that has taken the place of this one$', '') eq 'counts passed' });
query('SELECT kafka.pause(pipeline) FROM kafka.pipelines');
wait_until('the original to pause', sub { query(q(SELECT count(*) FROM kafka.pipelines WHERE phase = 'paused')) eq '2' });
for my $second (qw(12 22 31))
{
	feed(1);
	tick(0, $second);
	wait_for_view($copy, $_) for qw(passed counts);
}
is(messages('closed', qr/00:00:00/), 1, 'the copy has closed that window by a record');
$copy->stop;

query('SELECT kafka.adopt(take_over => true)');
my @refused = ('has gone another way than the server that published for it$', 'was made here without records');
wait_until('it to find out', sub { stopped(@refused) eq 'counts passed' });
is(query('SELECT count(*) FROM kafka_state.redo'), '0', 'nothing is to be done again');
$node->restart;
wait_until('it to find out again', sub { stopped(@refused) eq 'counts passed' });
is(messages('first', qr//), 0, 'the first rows of the view wait');
is(messages('closed', qr/00:00:00/), 1, 'and so does the window');

like(query('SELECT publish_error_hint FROM kafka.pipelines LIMIT 1'), qr/run kafka\.fork\(\) here/, 'the hint names a way');
query('SELECT kafka.fork()');
query('SELECT kafka.resume(pipeline) FROM kafka.pipelines');
wait_for_view($node, $_) for qw(passed after counts);
is(join(' ', sort { $a <=> $b } map { /"id":(\d+)/ } wait_for_sink($broker, 'first', 7, format => '%v')), '1 2 3 4 5 6 7', 'the new view has published every row once');
is(messages('closed', qr/00:00:00/), 2, 'and the window of this server has gone out too');
is(query(q{SELECT string_agg(extract(second FROM start)::int || ':' || n, ' ' ORDER BY start) FROM counts}), '0:2', 'it is whole');
is(query(q{SELECT late_rows FROM kafka.views WHERE view = 'counts'::regclass}), 2, 'and what came behind the time that had passed here is late');

done_testing();
