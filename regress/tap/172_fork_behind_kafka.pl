# A server that is behind what Kafka has of its pipeline gets new names, by kafka.fork(), before it has applied that again. Under the new names nothing
# is out: batches whose numbers its predecessor has used up to there are published like all others.

use strict;
use warnings;
use KafkaViews;
use PostgreSQL::Test::Utils;
use Test::More;

my $broker = KafkaViews::Broker->new;
my $original = new_node('original', broker => $broker, conf => "kafka.instance = 'one'", init => [ allows_streaming => 1 ]);
my $next = 0;

sub feed { $next++; return $broker->produce('input', qq(\\N\t{"id":$next})) }
sub arrived { my ($id) = @_; return scalar grep { /"id":$id}/ } $broker->consume('output', format => '%v') }

open_passage($original, $broker);
feed();
wait_for_view($original, 'passed');
wait_until('it to be noted', sub {
	return $original->safe_psql('postgres', 'SELECT n.batch = p.batch FROM kafka_state.pipeline p JOIN kafka_state.published n USING (pipeline)') eq 't' });
$original->safe_psql('postgres', q{SELECT kafka.pause('passed')});
$original->backup('early');
$original->safe_psql('postgres', q{SELECT kafka.resume('passed')});
for (1 .. 5)
{
	feed();
	wait_for_view($original, 'passed');
}
$original->stop('immediate');

my $copy = PostgreSQL::Test::Cluster->new('copy');
$copy->init_from_backup($original, 'early');
$copy->start;
wait_until('the publisher to have noted what Kafka has', sub {
	return $copy->safe_psql('postgres', 'SELECT count(*) FROM kafka_state.published n JOIN kafka_state.pipeline p USING (pipeline) JOIN kafka_state.redo USING (pipeline) WHERE n.batch > p.batch') eq '1' });
$copy->safe_psql('postgres', 'SELECT kafka.fork()');
$copy->safe_psql('postgres', q{SELECT kafka.resume('passed')});
wait_for_view($copy, 'passed');
feed();
wait_for_view($copy, 'passed');
wait_until("record $next", sub { return arrived($next) });
is(arrived($next), 1, 'what is new is published');
is(join(' ', map { arrived($_) } 2 .. 6), '2 2 2 2 2', 'and what the predecessor has published, once under each name');
done_testing();
