# What a session does with one pipeline, or with the names of all, neither stops nor doubles messages of others: a DROP that is open for
# long, and kafka.fork() while a batch of ordinary transactions is on its way.

use strict;
use warnings;
use KafkaViews;
use PostgreSQL::Test::Utils;
use Test::More;

my $broker = KafkaViews::Broker->new;
my $node = new_node('main', broker => $broker);

sub query { return $node->safe_psql('postgres', $_[0]) }
sub ids { my ($topic) = @_; return join ' ', map { /(\d+)/ } $broker->consume($topic, format => '%v') }

$broker->create($_, 1, 'retention.ms=-1') for qw(one_in one_out two_in two_out facts);
query(<<~'SQL');
	CREATE FOREIGN TABLE facts (id int) SERVER broker OPTIONS (topic 'facts');
	SQL
for my $name (qw(one two))
{
	query(<<~"SQL");
		CREATE FOREIGN TABLE ${name}_in (id int) SERVER broker OPTIONS (topic '${name}_in');
		CREATE FOREIGN TABLE ${name}_out (id int) SERVER broker OPTIONS (topic '${name}_out');
		BEGIN;
		CREATE MATERIALIZED VIEW $name WITH (kafka.continuous) AS SELECT id FROM ${name}_in;
		CREATE TRIGGER publish AFTER INSERT ON $name REFERENCING NEW TABLE AS new FOR EACH STATEMENT EXECUTE FUNCTION kafka.publish('${name}_out');
		COMMIT;
		SQL
}
$broker->produce("${_}_in", qq(\\N\t{"id":1})) for qw(one two);
query('INSERT INTO facts VALUES (1)');
wait_for_sink($broker, $_, 1) for qw(one_out two_out facts);

# a session that has dropped a view and not committed
my $session = $node->background_psql('postgres', on_error_die => 1);
$session->query_safe('BEGIN; DROP MATERIALIZED VIEW one');
$broker->produce('two_in', qq(\\N\t{"id":2}));
query('INSERT INTO facts VALUES (2)');
wait_until('the others', sub { ids('two_out') eq '1 2' && ids('facts') eq '1 2' });
pass('a DROP that is not committed holds up nobody else');
$session->query_safe('COMMIT');
$session->quit;
wait_for_sink($broker, 'facts', 2);

# kafka.fork() while a batch of ordinary transactions is on its way
wait_until('the batch to be noted', sub { query('SELECT published FROM kafka_state.transaction_batch') eq 't' });
$broker->freeze;
query('INSERT INTO facts VALUES (3)');
wait_until('the publisher to wait', sub { query(q{SELECT count(*) FROM kafka_state.processes() WHERE error ~ 'publishing waits'}) ne '0' });
query('SELECT kafka.fork()');
$broker->thaw;
wait_until('all to be noted', sub { query('SELECT published FROM kafka_state.transaction_batch') eq 't' });
is(ids('facts'), '1 2 3', 'kafka.fork() while a batch is on its way: each message once');

done_testing();
