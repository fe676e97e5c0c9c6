# A record that was applied and cannot be read any more when a crash has emptied the buffer that had it: the pipeline says which and
# stands still, because results without it would be wrong, and goes on by itself when the type is mended.

use strict;
use warnings;
use KafkaViews;
use PostgreSQL::Test::Utils;
use Test::More;

my $broker = KafkaViews::Broker->new;
my $node = new_node('main', broker => $broker);
my $at = 1_700_000_000_000;

sub query { return $node->safe_psql('postgres', $_[0]) }

# What ask gives, or nothing while the server is in recovery.
sub state
{
	my ($status, $answer) = ask($node, 'postgres', "SELECT phase || ': ' || coalesce(error, '') FROM kafka.pipelines");
	return $answer // '';
}

$broker->create($_, 1, 'retention.ms=-1') for qw(lefts rights);
query(<<~'SQL');
	CREATE TYPE kind AS ENUM ('red', 'blue');
	CREATE FOREIGN TABLE lefts (id int, kind kind, name text, at timestamptz) SERVER broker OPTIONS (topic 'lefts', event_time 'at');
	CREATE FOREIGN TABLE rights (id int, at timestamptz) SERVER broker OPTIONS (topic 'rights', event_time 'at');
	CREATE MATERIALIZED VIEW pairs WITH (kafka.continuous) AS
	  SELECT l.id, l.name, l.kind FROM lefts l JOIN rights r ON r.id = l.id AND r.at BETWEEN l.at AND l.at + interval '1 hour';
	SQL
$broker->produce('lefts', map { qq(ts=$at k\t{"id":$_,"kind":"blue","name":"n$_","at":$at}) } 1, 2);
$broker->produce('lefts', qq(ts=$at k\t{"id":"three","name":"n3","at":$at}));
wait_for_view($node, 'pairs');
is(query('SELECT count(*) FROM kafka_state.dead_letter'), 1, 'one record was bad from the beginning');

query("ALTER TYPE kind RENAME VALUE 'blue' TO 'navy'");
kill_worker($node, 'kafka_views worker pairs');
restart_after_crash($node);
wait_until('the pipeline to stop', sub { state() =~ /^failed/ });
# it tries again now and then
like(state(), qr/^\w+: record 0 of topic "lefts" partition 0 was applied and cannot be read again: /, 'the pipeline says which record');
like(query('SELECT error_hint FROM kafka.pipelines'), qr/^Undo what keeps foreign table (public\.)?lefts from reading it/, 'and what to do');
$broker->produce('rights', qq(ts=$at k\t{"id":2,"at":$at}));
query("ALTER TYPE kind ADD VALUE 'blue'");
wait_for_view($node, 'pairs');
is(query('SELECT id || name || kind FROM pairs'), '2n2blue', 'done as it says, the record is where it was');
is(query('SELECT count(*) FROM kafka_state.dead_letter'), 1, 'what was bad from the beginning is left out');
done_testing();
