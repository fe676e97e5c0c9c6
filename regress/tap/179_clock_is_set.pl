# The clock of a machine is set while pipelines are at work, forwards and back: what waits, waits as long as it would have. Partitions are idle neither at
# once nor never, batches go on, and whoever failed is tried again.

use strict;
use warnings;
use KafkaViews;
use PostgreSQL::Test::Utils;
use Test::More;

my $broker = KafkaViews::Broker->new;
my $file = PostgreSQL::Test::Utils::tempdir('clock') . '/seconds';
my $node;

sub query { return $node->safe_psql('postgres', $_[0]) }
sub windows
{
	return query("SELECT string_agg(format('%s-%s:%s', extract(second FROM lower(during))::int, extract(second FROM upper(during))::int, n), ' ' ORDER BY during) FROM windows");
}
sub event { my ($partition, $second) = @_; return qq(partition=$partition k\t{"at":"2024-01-01 00:00:$second+00"}) }

# Sets the server's clock so many seconds off.
sub set_clock
{
	my ($seconds) = @_;

	open my $out, '>', $file or die "$file: $!";
	print $out $seconds;
	close $out;
	wait_until('the clock', sub { abs(query('SELECT extract(epoch FROM clock_timestamp())') - time - $seconds) < 60 });
	return;
}

{
	local $ENV{LD_PRELOAD} = "$ENV{KV_ROOT}/regress/tools/set_clock.so";
	local $ENV{SET_CLOCK} = $file;
	$node = new_node('main', broker => $broker, conf => "kafka.idle_timeout = '10min'");
}
set_clock(0);
$broker->create($_, 2, 'retention.ms=-1') for qw(events closed);
query(<<~'SQL');
	CREATE FOREIGN TABLE events (at timestamptz) SERVER broker OPTIONS (topic 'events', event_time 'at');
	CREATE FOREIGN TABLE closed (during tstzrange OPTIONS (key 'true'), n bigint) SERVER broker OPTIONS (topic 'closed', mode 'upsert');
	BEGIN;
	CREATE MATERIALIZED VIEW windows WITH (kafka.continuous, kafka.grace = '0') AS
	  SELECT kafka.tumble(at, '10 s') AS during, count(*) AS n FROM events GROUP BY during;
	SELECT kafka.attach_sink('windows', 'closed');
	COMMIT;
	SQL
$broker->produce('events', event(0, '01'), event(1, '02'));
wait_for_view($node, 'windows');
wait_until('the ends of both', sub { query('SELECT phase FROM kafka.pipelines') eq 'live' });

# an hour is more than the timeout
set_clock(3600);
my $n = 0;
sub count
{
	$broker->produce('events', event(0, 30));
	$n++;
	wait_until('the record to be counted', sub { windows() eq "0-10:2 30-40:$n" });
	return query('SELECT records_per_second FROM kafka.pipelines');
}
my $rate = count();
wait_until('the partitions to be looked at, as where the rate is counted again', sub { return count() ne $rate });
count();
$broker->produce('events', event(1, '05'));
wait_for_view($node, 'windows');
is(windows(), "0-10:3 30-40:$n", 'set forwards: the other partition is not idle, and its record not late');

# back by an hour, and by half an hour more
for my $seconds (0, -1800)
{
	set_clock($seconds);
	$broker->produce('events', event(1, '06'));
	wait_for_view($node, 'windows');
}
is(windows(), "0-10:5 30-40:$n", 'set back: batches go on, and are published');

# what has failed before the clock is set back is tried again soon after
sub refuse { return query("CREATE OR REPLACE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN $_[0] RETURN NULL; END'") }
refuse(q{RAISE EXCEPTION USING ERRCODE = ''MY001'', MESSAGE = ''not now'';});
query('CREATE TRIGGER refuse AFTER UPDATE ON windows FOR EACH ROW EXECUTE FUNCTION refuse()');
$broker->produce('events', event(1, '07'));
wait_until('it to fail', sub { query('SELECT failures FROM kafka.pipelines') >= 2 });
set_clock(-3500);
cmp_ok(query('SELECT extract(epoch FROM retry_at - clock_timestamp()) FROM kafka.pipelines'), '<', 61, 'the next attempt is at a time of the new clock');
refuse('');
wait_until('the next attempt', sub { windows() eq "0-10:6 30-40:$n" });
pass('what has failed is tried again');
is(query('SELECT late_rows FROM kafka.views'), '0', 'nothing was late');
done_testing();
