# Nothing is published that a synchronous standby does not have: while it is away, views go on and messages wait, of pipelines and of ordinary
# transactions; when it is there again they go out, and promoted it goes on exactly where the primary was. A drained outbox is emptied meanwhile, and locks nobody out.

use strict;
use warnings;
use KafkaViews;
use PostgreSQL::Test::Utils;
use Test::More;

my $broker = KafkaViews::Broker->new;
my $node = new_node('primary', broker => $broker, conf => "kafka.instance = 'sync'", init => [ allows_streaming => 1 ]);

open_passage($node, $broker);
$node->safe_psql('postgres', 'INSERT INTO facts VALUES (1)');
$broker->produce('input', '\N' . qq(\t{"id":1}));
wait_for_view($node, 'passed');
wait_for_sink($broker, 'facts', 1);

$node->backup('base');
my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($node, 'base', has_streaming => 1);
$standby->start;
$node->append_conf('postgresql.conf', "synchronous_standby_names = 'standby'");
$node->reload;
wait_until('the standby to be synchronous', sub { $node->safe_psql('postgres', 'SELECT sync_state FROM pg_stat_replication') eq 'sync' });
$broker->produce('input', '\N' . qq(\t{"id":2}));
wait_for_view($node, 'passed');

# the configuration is changed while the publisher runs, to what would not wait
$node->append_conf('postgresql.conf', 'synchronous_commit = local');
$node->reload;
wait_until('the configuration to be read', sub { $node->safe_psql('postgres', 'SHOW synchronous_commit') eq 'local' });
$broker->produce('input', '\N' . qq(\t{"id":3}));
wait_for_view($node, 'passed');

# what has grown large is drained, and cannot be emptied while somebody reads it
my $reader = $node->background_psql('postgres', on_error_die => 1);
$reader->query_safe('BEGIN; LOCK TABLE kafka_state.transaction_outbox IN ACCESS SHARE MODE');
$broker->create('large', 1, 'retention.ms=-1');
$node->safe_psql('postgres', <<~'SQL');
	CREATE FOREIGN TABLE large (pad text) SERVER broker OPTIONS (topic 'large');
	INSERT INTO large SELECT repeat('x', 90) FROM generate_series(1, 200000);
	SQL
wait_until('all to be published', sub { $node->safe_psql('postgres', 'SELECT published AND batch > 1 FROM kafka_state.transaction_batch') eq 't' });
sub file { return $node->safe_psql('postgres', q{SELECT relfilenode FROM pg_class WHERE oid = 'kafka_state.transaction_outbox'::regclass}) }
my $file = file();

# away: the worker commits asynchronously and goes on, the publisher waits
$standby->stop;
$reader->query_safe('COMMIT');
$reader->quit;
wait_until('the outbox to be emptied', sub { file() ne $file });
$broker->produce('input', '\N' . qq(\t{"id":4}));
$node->safe_psql('postgres', 'INSERT INTO facts VALUES (2)');
wait_until('the view to have the record', sub { $node->safe_psql('postgres', 'SELECT count(*) FROM passed') eq '4' });
wait_until('the publisher to wait for the standby', sub { $node->safe_psql('postgres',
	q{SELECT count(*) FROM pg_stat_activity WHERE backend_type ~ 'kafka_views publisher' AND wait_event = 'SyncRep'}) eq '1' });
sub ids { my ($topic) = @_; return join ' ', map { /(\d+)/ } $broker->consume($topic, format => '%v') }
is(ids('output'), '1 2 3', 'no change goes out that the standby does not have');
is(ids('facts'), '1', 'nor a message of an ordinary transaction');

# lost there and then: the standby goes on without what it never had, and nobody has seen that
$node->stop('immediate');
$standby->start;
$standby->promote;
wait_for_view($standby, 'passed');
$standby->safe_psql('postgres', 'INSERT INTO facts VALUES (3)');
wait_for_sink($broker, 'facts', 2);
is(ids('facts'), '1 3', 'a transaction that was lost was never seen');
is(ids('output'), '1 2 3 4', 'every change once');
is($standby->safe_psql('postgres', q{SELECT * FROM kafka.verify('passed')}), '', 'the view equals its query');
is($standby->safe_psql('postgres', 'SELECT count(*) FROM kafka_state.redo'), 0, 'there was nothing to be done again');

done_testing();
