# Where the server has no place left for a process, kafka.pipelines says so of the pipelines that wait for it, with the setting to
# raise, to everybody who may read their views; the log says it once; and what waits begins by itself when a place is free. First
# the postmaster's places (max_worker_processes) are used up, for a worker and for the supervisor of a database, then the extension's own slots (kafka.max_workers), for a worker and for an output.

use strict;
use warnings;
use KafkaViews;
use PostgreSQL::Test::Utils;
use Test::More;

my $broker = KafkaViews::Broker->shared;
# the launchers of Postgres and of the extension, a supervisor, a publisher, a worker
my $node = new_node('main', broker => $broker, conf => "max_worker_processes = 5");

sub query { return $node->safe_psql('postgres', $_[0]) }
sub pipelines { return query("SELECT string_agg(concat_ws(': ', pipeline, state, error, error_hint), '; ' ORDER BY pipeline) FROM kafka.pipelines") }
sub logged { return scalar(() = slurp_file($node->logfile) =~ /LOG:  no place is left for $_[0]/g) }

$broker->create('places', 1, 'retention.ms=-1');
query(<<~'SQL');
	CREATE FOREIGN TABLE places (id int) SERVER broker OPTIONS (topic 'places');
	CREATE ROLE reader;
	SQL
query('CREATE MATERIALIZED VIEW one WITH (kafka.continuous) AS SELECT id FROM places');
$broker->produce('places', "k\t{\"id\":1}");
wait_for_view($node, 'one');
query('CREATE MATERIALIZED VIEW two WITH (kafka.continuous) AS SELECT id FROM places; GRANT SELECT ON two TO reader');
wait_until('the second pipeline to have no place', sub { pipelines() =~ /two: waiting: / });
is(pipelines(), 'one: running; two: waiting: no place is left for process "kafka_views worker two": '
	. 'Raise max_worker_processes and restart the server. It starts by itself when another process ends.', 'a worker has no place');
query('DROP MATERIALIZED VIEW one');
wait_for_view($node, 'two');
wait_until('the error to be over', sub { pipelines() eq 'two: running' });
pass('the pipeline has begun when the other one was gone');
is(logged('process "kafka_views worker two"'), 1, 'it was logged once');

$node->append_conf('postgresql.conf', 'max_worker_processes = 2');
$node->restart;
wait_until('the supervisor to have no place', sub { pipelines() =~ /two: waiting: / });
like(pipelines(), qr/^two: waiting: no place is left for process "kafka_views supervisor (postgres|template1)": Raise max_worker_processes/, 'neither has the supervisor');
is(query('SET ROLE reader; SELECT state FROM kafka.pipelines WHERE error IS NOT NULL'), 'waiting', 'who may read the view sees it');

# a place for the worker, which comes first, and none for the publisher
$node->append_conf('postgresql.conf', 'max_worker_processes = 4');
$node->restart;
wait_until('the publisher to have no place', sub { query("SELECT coalesce(publish_error, '') FROM kafka.pipelines") =~ /^no place is left for process "kafka_views publisher/ });
like(query('SELECT publish_error_hint FROM kafka.pipelines'), qr/^Raise max_worker_processes/, 'the pipeline says why nobody publishes for it');

# a slot each for launcher, supervisor, publisher; two for a pipeline
$node->append_conf('postgresql.conf', "max_worker_processes = 8\nkafka.max_workers = 1");
$node->restart;
wait_for_view($node, 'two');
query('CREATE MATERIALIZED VIEW three WITH (kafka.continuous) AS SELECT id FROM places');
wait_until('the third pipeline to have no slot', sub { pipelines() =~ /three: waiting: / });
is(pipelines(), 'three: waiting: no place is left for another process of kafka_views: '
	. 'Raise kafka.max_workers and restart the server. It starts by itself when another pipeline is dropped.; two: running', 'a worker has no slot');
query('DROP MATERIALIZED VIEW two');
wait_for_view($node, 'three');
wait_until('the error to be over', sub { pipelines() eq 'three: running' });
pass('this pipeline too has begun when the other one was gone');
is(logged('another process of kafka_views'), 1, 'and this was logged once');

# places for two pipelines, then for two workers or a worker and its output beside their publisher: at least one has no output
$node->append_conf('postgresql.conf', "kafka.max_workers = 2");
$node->restart;
query('CREATE MATERIALIZED VIEW four WITH (kafka.continuous) AS SELECT id FROM places; GRANT SELECT ON three, four TO reader');
wait_for_view($node, 'four');
my $before = logged('the output of another pipeline');
$node->append_conf('postgresql.conf', "kafka.max_workers = 1");
$node->restart;
sub unpublished { return query("SET ROLE reader; SELECT DISTINCT concat_ws(': ', publish_error, publish_error_hint) FROM kafka.pipelines WHERE publish_error IS NOT NULL") }
wait_until('a pipeline to have no output', sub { unpublished() ne '' });
is(unpublished(), 'no place is left for the output of another pipeline, and it is not published: '
	. 'Raise kafka.max_workers and restart the server. It starts by itself when another pipeline is dropped.', 'the pipeline says so');
query('DROP MATERIALIZED VIEW four');
wait_for_view($node, 'three');
wait_until('this error to be over', sub { unpublished() eq '' });
is(logged('the output of another pipeline'), $before + 1, 'and this was logged once');
done_testing();
