# Positions that stand still are committed to Kafka again every kafka.idle_commit_interval, with the batch that they had, and noted: Kafka
# forgets a group that is silent for long. A position that it has lost is not committed again, for that would hide it.

use strict;
use warnings;
use KafkaViews;
use Test::More;

my $broker = KafkaViews::Broker->new;
my $node = new_node('main', broker => $broker, conf => "kafka.commit_interval = '100ms'");

sub query { return $node->safe_psql('postgres', $_[0]) }

# How far the broker's own topic of committed offsets is.
sub commits { my $sum = 0; $sum += $_->[1] for $broker->end('__consumer_offsets'); return $sum }

$broker->create($_, 1, 'retention.ms=-1') for qw(input output);
query(<<~'SQL');
	CREATE FOREIGN TABLE input (id int) SERVER broker OPTIONS (topic 'input');
	CREATE FOREIGN TABLE output (id int) SERVER broker OPTIONS (topic 'output');
	BEGIN;
	CREATE MATERIALIZED VIEW v WITH (kafka.continuous) AS SELECT id FROM input;
	CREATE TRIGGER publish AFTER INSERT ON v REFERENCING NEW TABLE AS new FOR EACH STATEMENT EXECUTE FUNCTION kafka.publish('output');
	COMMIT;
	SQL
$broker->produce('input', qq(\\N\t{"id":1}));
wait_for_view($node, 'v');
wait_until('the note', sub { return query('SELECT count(*) FROM kafka_state.published') eq '1' });
my $group = query(q{SELECT instance || '.' || kafka_database || '.' || pipeline || '.' || token FROM kafka_state.identity, kafka_state.pipeline});
my $positions = join ' ', map { join '/', @$_ } $broker->group($group);
my ($commits, $at) = (commits(), query('SELECT at FROM kafka_state.published'));

$node->append_conf('postgresql.conf', "kafka.idle_commit_interval = '500ms'");
$node->reload;
wait_until('idle commits', sub { return commits() >= $commits + 3 && query('SELECT at FROM kafka_state.published') gt $at });
is(join(' ', map { join '/', @$_ } $broker->group($group)), $positions, 'the positions are committed again as they were, with the same batch');
$broker->produce('input', qq(\\N\t{"id":2}));
wait_for_view($node, 'v');
is(join(' ', $broker->consume('output', format => '%v')), '{"id":1} {"id":2}', 'publishing goes on between idle commits, each message once');

$broker->forget_group($group);
wait_until('the loss to be noticed', sub { return query('SELECT publish_error FROM kafka.pipelines') =~ /Kafka has lost the position/ });
is(join(' ', $broker->group($group)), '', 'a position that Kafka has lost is not committed again');

done_testing();
