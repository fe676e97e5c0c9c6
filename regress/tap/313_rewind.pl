# A primary is lost with batches that its standby never got and consumers have seen. The standby takes over; the old primary, started beside
# it, publishes nothing more, is brought behind it by pg_rewind, and takes over again in a planned switch. Through all of it every
# change is in the sinks once, and joins find what came before: their buffers are lost each time, whatever files pg_rewind left.

use strict;
use warnings;
use KafkaViews;
use Shop;
use PostgreSQL::Test::Utils;
use Test::More;

my $broker = KafkaViews::Broker->new;
my $first = new_node('first', broker => $broker, conf => "kafka.instance = 'rewind'\nkafka.batch_rows = 50\nwal_keep_size = 1GB",
	init => [ allows_streaming => 1, extra => ['--data-checksums'] ]);

# Lets the records of one topic through, so that the two sides of a join come before and after something.
{
	package OneTopic;
	sub produce { my ($self, $topic, @lines) = @_; $self->{broker}->produce($topic, @lines) if $topic eq $self->{topic}; return }
}

sub sql { my ($node, $query) = @_; return $node->safe_psql('postgres', $query) }

open_shop($first, $broker);
$first->backup('base');
my $second = PostgreSQL::Test::Cluster->new('second');
$second->init_from_backup($first, 'base', has_streaming => 1);
$second->start;
feed_shop($broker, 1, 300);
wait_for_view($first, $_) for qw(paid totals);

# what comes now the standby never gets
$first->wait_for_catchup($second);
$second->stop;
feed_shop($broker, 301, 600);
wait_for_view($first, $_) for qw(paid totals);
$first->stop('immediate');
$second->start;
$second->promote;
check_shop($second, $broker, 600, 'promoted');
feed_shop($broker, 601, 700);
check_shop($second, $broker, 700, 'promoted, going on');

# the old primary comes back by mistake
$first->start;
feed_shop($broker, 701, 800);
wait_until('the old primary to see that it is replaced', sub {
	return sql($first, 'SELECT count(*) FROM kafka.pipelines WHERE publish_error ~ $$published by a server that has taken the place$$') eq '2' });
check_shop($second, $broker, 800, 'the old primary beside it');
$first->stop;

# the hint: a standby of the new one
$second->safe_psql('postgres', 'CHECKPOINT');
$first->command_ok([ 'pg_rewind', '--source-server', $second->connstr('postgres'), '--target-pgdata', $first->data_dir, '--no-sync' ], 'pg_rewind');
$first->append_conf('postgresql.conf', 'port = ' . $first->port . "\nprimary_conninfo = '" . $second->connstr . "'");
$first->set_standby_mode;
$first->start;
feed_shop($broker, 801, 900);
check_shop($second, $broker, 900, 'with its new standby');
$second->wait_for_catchup('first');
is(sql($first, 'SELECT count(*) FROM paid'), sql($second, 'SELECT count(*) FROM paid'), 'the standby has it all');

# the switch back is planned: nothing is lost, and nothing is done again
feed_shop(bless({ broker => $broker, topic => 'orders' }, 'OneTopic'), 901, 1000);
wait_for_view($second, $_) for qw(paid totals);
$second->stop;
$first->promote;
feed_shop(bless({ broker => $broker, topic => 'payments' }, 'OneTopic'), 901, 1000);
check_shop($first, $broker, 1000, 'switched back');
is(sql($first, 'SELECT count(*) FROM kafka_state.redo'), 0, 'switched back: nothing was to be done again');
is(sql($first, q{SELECT count(*) FROM kafka.pipelines WHERE coalesce(error, publish_error) IS NOT NULL}), 0, 'switched back: no error');
$first->stop;

done_testing();
