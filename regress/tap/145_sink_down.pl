# A sink whose broker is down stops its own pipeline's publishing and nothing else: another pipeline of the same server and ordinary
# transactions go out as before, whether the broker hangs or is gone. The pipeline says what it waits for, and goes on by itself exactly once
# when the broker is back. Meanwhile Postgres stops at once, and the pipeline can be dropped.

use strict;
use warnings;
use KafkaViews;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes;

my $broker = KafkaViews::Broker->new;
my $node = new_node('main', broker => $broker, conf => "max_worker_processes = 16");
my %fed = map { $_ => 0 } qw(near far facts);

sub query { return $node->safe_psql('postgres', $_[0]) }

# Makes a pipeline from one topic to another.
sub make_pipeline
{
	my ($name, $sink_on) = @_;

	$broker->create("${name}_in", 1, 'on=1');
	$broker->create("${name}_out", 1, "on=$sink_on");
	query(<<~"SQL");
		CREATE FOREIGN TABLE ${name}_in (id int) SERVER broker OPTIONS (topic '${name}_in');
		CREATE FOREIGN TABLE ${name}_out (id int) SERVER broker OPTIONS (topic '${name}_out');
		BEGIN;
		CREATE MATERIALIZED VIEW $name WITH (kafka.continuous) AS SELECT id FROM ${name}_in;
		CREATE TRIGGER publish AFTER INSERT ON $name REFERENCING NEW TABLE AS new FOR EACH STATEMENT EXECUTE FUNCTION kafka.publish('${name}_out');
		COMMIT;
		SQL
	return;
}

# Gives a pipeline, or the ordinary transactions, one more record.
sub feed
{
	my ($name) = @_;
	my $id = ++$fed{$name};

	return $name eq 'facts' ? query("INSERT INTO facts VALUES ($id)") : $broker->produce("${name}_in", qq(\\N\t{"id":$id}));
}

sub ids { my ($name) = @_; return join ' ', map { /(\d+)/ } $broker->consume($name eq 'facts' ? $name : "${name}_out", format => '%v') }
sub arrived { my ($name) = @_; return ids($name) eq join ' ', 1 .. $fed{$name} }

# Feeds what does not need the second broker, each record when the one before has arrived; gives back how long all of it took.
sub feed_others
{
	my $began = Time::HiRes::time;

	for my $round (1 .. 10)
	{
		for my $name (qw(near facts))
		{
			feed($name);
			wait_until("record $fed{$name} of $name", sub { return arrived($name) });
		}
	}
	return Time::HiRes::time - $began;
}

sub far_error { return query(q(SELECT coalesce(publish_error || ': ' || publish_error_detail, publish_error) FROM kafka.pipelines WHERE pipeline = 'far')) }

$broker->create('facts', 1, 'on=1');
query(q(CREATE FOREIGN TABLE facts (id int) SERVER broker OPTIONS (topic 'facts')));
make_pipeline('near', 1);
feed_others();
my $second = $broker->second;
query("ALTER SERVER broker OPTIONS (SET bootstrap_servers '" . $broker->address . ',' . $second->address . "')");
make_pipeline('far', 2);
feed('far');
wait_until('the first record of far', sub { return arrived('far') });
my $usual = feed_others();
note(sprintf 'the others take %.1f s', $usual);

for my $way (qw(freeze kill))
{
	$second->$way;
	feed('far');
	wait_until('the pipeline to say that it waits', sub { return far_error() });
	like(far_error(), qr/publishing waits for server "broker" to take messages|could not .* on server "broker"/, "$way: it says what it waits for");
	note(far_error());
	my $now = feed_others();
	note(sprintf 'the others take %.1f s after %s', $now, $way);
	cmp_ok($now, '<', 4 * $usual + 5, "$way: the others go on as before");
	isnt(far_error(), '', "$way: the broker is still away");

	my $began = Time::HiRes::time;
	$node->stop('fast');
	cmp_ok(Time::HiRes::time - $began, '<', 5, "$way: Postgres stops at once");
	$node->start;
	feed_others();

	feed('far');
	$way eq 'freeze' ? $second->thaw : $second->start;
	# its reader goes to the first broker, which knows of the second again once that is back
	wait_until('all of far', sub { return eval { arrived('far') } });
	wait_until('the error to go', sub { return far_error() eq '' });
	pass("$way: it goes on by itself, exactly once");
	feed('far');
	wait_until('one more of far', sub { return arrived('far') });
}

$second->freeze;
feed('far');
wait_until('the pipeline to wait', sub { return far_error() });
query('DROP MATERIALIZED VIEW far');
wait_until('its places to be free', sub { return query(q(SELECT count(*) FROM kafka_state.processes() WHERE kind = 'output')) eq '1' });
pass('a pipeline that waits for its sink can be dropped');
feed_others();
$second->thaw;

done_testing();
