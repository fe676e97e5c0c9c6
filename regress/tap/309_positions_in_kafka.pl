# What a group's offsets say: every Kafka transaction carries the positions of all partitions, of those too that stand still, and with each the
# same batch, owner and frontiers. They follow within kafka.commit_interval where no message goes out, so any Kafka tool sees the lag.

use strict;
use warnings;
use KafkaViews;
use Test::More;

my $broker = KafkaViews::Broker->shared;
my $node = new_node('main', broker => $broker, conf => 'kafka.commit_interval = 100ms');

$broker->create($_, 2, 'retention.ms=-1') for qw(positions_left positions_right);
$node->safe_psql('postgres', q{
	CREATE FOREIGN TABLE l (id int, at timestamptz) SERVER broker OPTIONS (topic 'positions_left', event_time 'at');
	CREATE FOREIGN TABLE r (id int, at timestamptz) SERVER broker OPTIONS (topic 'positions_right', event_time 'at');
	CREATE MATERIALIZED VIEW pairs WITH (kafka.continuous) AS
	  SELECT l.id, l.at FROM l JOIN r ON r.id = l.id AND r.at BETWEEN l.at AND l.at + interval '1 minute';
});
$broker->produce($_, map { "partition=" . $_ % 2 . qq( $_\t{"id":$_,"at":${\ ($_ * 1000)}}) } 0 .. 9) for qw(positions_left positions_right);
wait_for_view($node, 'pairs');
my $group = $node->safe_psql('postgres', q{SELECT instance || '.' || kafka_database || '.' || pipeline || '.' || token FROM kafka_state.identity, kafka_state.pipeline});

# Waits until the group has the positions that Postgres has, and compares what comes with them.
sub check_group
{
	my ($expected, $what) = @_;
	my @offsets;

	wait_until("the positions of the group: $what", sub {
		@offsets = $broker->group($group);
		return join(' ', map { "$_->[0]/$_->[1]:$_->[2]" } @offsets) eq $expected });
	pass("$what: positions of all partitions");
	my %metadata = map { $_->[3] => 1 } @offsets;
	is(scalar(keys %metadata), 1, "$what: with the same metadata");
	like((keys %metadata)[0], qr/^\{"batch":\d+,"part":0,"owner":"[^"]+","adoptions":0,"timeline":1,"here":"[\d\/]+","frontiers":\{"\d+": -?\d+, "clock": \d+\}\}$/, "$what: which has all there is to know");
	return;
}

check_group('positions_left/0:5 positions_left/1:5 positions_right/0:5 positions_right/1:5', 'without a sink');
$broker->produce('positions_left', qq(partition=1 11\t{"id":11,"at":11000}));
check_group('positions_left/0:5 positions_left/1:6 positions_right/0:5 positions_right/1:5', 'when one partition moves');
$node->restart;
$broker->produce('positions_right', qq(partition=0 12\t{"id":12,"at":12000}));
check_group('positions_left/0:5 positions_left/1:6 positions_right/0:6 positions_right/1:5', 'after a restart');

# frontiers that do not fit are left out, by the next publisher too, which does not know them: none would mean that nothing has closed
$node->safe_psql('postgres', q{
	CREATE FUNCTION pad() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
		NEW.frontiers := NEW.frontiers || (SELECT pg_catalog.jsonb_object_agg(i, 0) FROM pg_catalog.generate_series(1000001, 1000400) i);
		RETURN NEW;
	END $$;
	CREATE TRIGGER pad BEFORE INSERT ON kafka_state.outbox_batch FOR EACH ROW EXECUTE FUNCTION pad();
});
$broker->produce('positions_left', qq(partition=0 13\t{"id":13,"at":13000}));
my ($without, $owner) = qr/^\{"batch":\d+,"part":0,"owner":"([^"]+)","adoptions":0,"timeline":1,"here":"[^"]+"\}$/;
wait_until('metadata without frontiers', sub { my ($offset) = $broker->group($group); return ($owner) = $offset->[3] =~ $without });
$node->safe_psql('postgres', q{SELECT kafka.pause('pairs')});
$node->restart;
my $metadata;
wait_until('another owner', sub { my ($offset) = $broker->group($group); $metadata = $offset->[3]; return $metadata !~ /\Q$owner\E/ });
like($metadata, $without, 'frontiers that are not known are not said to be none');

done_testing();
