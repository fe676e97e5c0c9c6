# A server beside which a copy has taken its place makes batches of its own that move no position: the rows of a sink that is attached there, dead letters
# that are tried again. Its number of such a batch is one under which the copy publishes something else. When the copy is gone for good the server
# cannot take its place back, for these rows would go to nobody: it says so, after a restart too, and by the hint publishes them.

use strict;
use warnings;
use KafkaViews;
use Test::More;

my $broker = KafkaViews::Broker->new;
my $node = new_node('original', broker => $broker, init => [ allows_streaming => 1 ]);
my $produced = 0;

sub query { return $node->safe_psql('postgres', $_[0]) }
sub errors_match { my ($re) = @_; return 2 == grep { /$re/ } split /\n/, query('SELECT publish_error FROM kafka.pipelines') }

sub feed
{
	my ($count) = @_;
	for my $id (map { ++$produced } 1 .. $count)
	{
		$broker->produce($_, '\N' . qq(\t{"id":$id})) for qw(input halves);
	}
	return;
}

open_passage($node, $broker);
$broker->create($_, 1, 'retention.ms=-1') for qw(more halves halved);
query(<<~'SQL');
	CREATE FUNCTION half(a int) RETURNS int IMMUTABLE LANGUAGE plpgsql AS $$ BEGIN IF a = 2 THEN RAISE 'not of 2'; END IF; RETURN a / 2; END $$;
	CREATE FOREIGN TABLE more (id int) SERVER broker OPTIONS (topic 'more');
	CREATE FOREIGN TABLE halves (id int) SERVER broker OPTIONS (topic 'halves');
	CREATE FOREIGN TABLE halved (id int, half int) SERVER broker OPTIONS (topic 'halved');
	BEGIN;
	CREATE MATERIALIZED VIEW shares WITH (kafka.continuous) AS SELECT id, half(id) AS half FROM halves;
	SELECT kafka.attach_sink('shares', 'halved');
	COMMIT;
SQL
feed(4);
wait_for_view($node, $_) for qw(passed shares);
my $copy = start_adopted_copy($node);

# nothing has come meanwhile, so the original has not seen it yet
query(q(SELECT kafka.attach_sink('passed', 'more')));
query(q(CREATE OR REPLACE FUNCTION half(a int) RETURNS int IMMUTABLE LANGUAGE plpgsql AS $$ BEGIN RETURN a / 2; END $$));
query(q(SELECT kafka.retry_dead_letters('shares')));
wait_until('the dead letter to be applied', sub { query('SELECT count(*) FROM shares') eq '4' });
wait_until('the original to be replaced', sub { errors_match(qr/by a server that has taken the place of this one/) });
query('SELECT kafka.pause(pipeline) FROM kafka.pipelines');
wait_until('the original to pause', sub { query(q(SELECT count(*) FROM kafka.pipelines WHERE phase = 'paused')) eq '2' });
for (1 .. 3)
{
	feed(1);
	wait_for_view($copy, $_) for qw(passed shares);
}
$copy->stop;

query('SELECT kafka.adopt(take_over => true)');
wait_until('it to find out', sub { errors_match(qr/has gone another way than the server that published for it$/) });
is(query('SELECT count(*) FROM kafka_state.redo'), '0', 'nothing is to be done again');
$node->restart;
wait_until('it to find out again', sub { errors_match(qr/has gone another way than the server that published for it$/) });
is(scalar(my @more = $broker->consume('more')), 0, 'the rows of the sink wait');

like(query('SELECT publish_error_hint FROM kafka.pipelines LIMIT 1'), qr/run kafka\.fork\(\) here/, 'the hint names a way');
query('SELECT kafka.fork()');
query('SELECT kafka.resume(pipeline) FROM kafka.pipelines');
wait_for_view($node, $_) for qw(passed shares);
is(join(' ', sort { $a <=> $b } map { /(\d+)/ } wait_for_sink($broker, 'more', 7, format => '%v')), '1 2 3 4 5 6 7', 'the new sink has every row once');
is(scalar(grep { /"id":2\b/ } $broker->consume('halved', format => '%v')), 1, 'what the dead letter gave is published once');

done_testing();
