# A publisher that begins stands still while it commits that it is the owner now, for longer than the broker lets a transaction live: that is aborted,
# and the producer fenced. Kafka still names its predecessor then, which is no other server: it begins again by itself.

use strict;
use warnings;
use KafkaViews;
use PostgreSQL::Test::Utils;
use Test::More;

my $properties = PostgreSQL::Test::Utils::tempdir('properties') . '/properties';
append_to_file($properties, "transaction.abort.timed.out.transaction.cleanup.interval.ms=500\n");
local $ENV{KAFKA_PROPERTIES} = $properties;
my $broker = KafkaViews::Broker->new;
my $node = new_node('main', broker => $broker, install_path => fault_build());

# How far the broker's own topic of committed offsets is: a record of the transaction, then the marker that ends it.
sub commits { my $sum = 0; $sum += $_->[1] for $broker->end('__consumer_offsets'); return $sum }

open_passage($node, $broker);
$node->safe_psql('postgres', q{ALTER SERVER broker OPTIONS (ADD transaction_timeout_ms '5000')});
$broker->produce('input', qq(\\N\t{"id":1}));
wait_for_view($node, 'passed');

arm_fault($node, 'kafka_offsets_sent');
kill_worker($node, 'publisher', 'TERM');
wait_for_fault($node);
my $before = commits();
wait_until('the broker to abort the transaction', sub { return commits() > $before });
release_fault($node);

$broker->produce('input', qq(\\N\t{"id":2}));
wait_for_view($node, 'passed');
is(join(' ', map { /(\d+)/ } $broker->consume('output', format => '%v')), '1 2', 'publishing goes on by itself, each message once');
done_testing();
