# A dead letter is tried again and what it makes is published; a standby that has not got that, but has the request, takes over. There the record is a
# dead letter as before, and is not tried again by itself: whether its output is out, nobody but a person can see. Records that were applied
# after it are not published again.

use strict;
use warnings;
use KafkaViews;
use PostgreSQL::Test::Utils;
use Test::More;

my $broker = KafkaViews::Broker->new;
my $primary = new_node('primary', broker => $broker, conf => "kafka.instance = 'retry'", init => [ allows_streaming => 1 ]);

$broker->create($_, 1, 'retention.ms=-1') for qw(events sink);
$primary->safe_psql('postgres', <<~'SQL');
	CREATE DOMAIN small AS int CHECK (VALUE < 100);
	CREATE FOREIGN TABLE events (id int, n small) SERVER broker OPTIONS (topic 'events');
	CREATE FOREIGN TABLE sink (id int, n int) SERVER broker OPTIONS (topic 'sink');
	BEGIN;
	CREATE MATERIALIZED VIEW seen WITH (kafka.continuous) AS SELECT id, n::int AS n FROM events;
	SELECT kafka.attach_sink('seen', 'sink');
	COMMIT;
	SQL
$primary->backup('base');
my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($primary, 'base', has_streaming => 1);
$standby->start;

$broker->produce('events', qq(k\t{"id":1,"n":1}), qq(k\t{"id":2,"n":200}));
wait_for_view($primary, 'seen');
$primary->safe_psql('postgres', 'SELECT kafka.pause(pipeline) FROM kafka.pipelines; ALTER DOMAIN small DROP CONSTRAINT small_check');
is($primary->safe_psql('postgres', q{SELECT kafka.retry_dead_letters('events')}), 1, 'a request, which the standby gets');
$primary->wait_for_catchup($standby);
$standby->stop;
$primary->safe_psql('postgres', 'SELECT kafka.resume(pipeline) FROM kafka.pipelines');
$broker->produce('events', qq(k\t{"id":3,"n":3}));
wait_for_view($primary, 'seen');
is($primary->safe_psql('postgres', 'SELECT count(*) FROM kafka.dead_letters'), 0, 'and its answer, which it does not');
is(join(' ', sort map { /"id":(\d)/ } wait_for_sink($broker, 'sink', 3, format => '%v')), '1 2 3', 'all is in the sink');
$primary->stop('immediate');

$standby->start;
$standby->promote;
$standby->safe_psql('postgres', 'SELECT kafka.resume(pipeline) FROM kafka.pipelines');
wait_for_view($standby, 'seen');
is($standby->safe_psql('postgres', 'SELECT string_agg(id::text, $$ $$ ORDER BY id) FROM seen'), '1 3', 'what it had lost is applied again');
is($standby->safe_psql('postgres', 'SELECT "offset", retry_requested IS NULL FROM kafka.dead_letters'), '1|t', 'the dead letter is there, and does not wait any more');
is(join(' ', sort map { /"id":(\d)/ } $broker->consume('sink', format => '%v')), '1 2 3', 'nothing is published again');
$standby->safe_psql('postgres', q{SELECT kafka.retry_dead_letters('events')});
wait_for_view($standby, 'seen');
is($standby->safe_psql('postgres', 'SELECT string_agg(id::text, $$ $$ ORDER BY id) FROM seen'), '1 2 3', 'asked for again, it is applied');
is($standby->safe_psql('postgres', q{SELECT * FROM kafka.verify('seen')}), '', 'and the view equals its query');
done_testing();
