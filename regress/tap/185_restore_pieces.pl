# A schema-only dump, and then a data-only one, with and without --disable-triggers: views get their rows, which the triggers that guard them refuse
# to everybody else, and publish nothing by it, whether the dump has them before the engine's own tables (schema app) or behind (public). After
# kafka.adopt() the database goes on where the dump stood, each message once, and nobody writes to a view any more. Last, a restore that
# begins with the messages that wait, as several jobs do that take the largest tables first.

use strict;
use warnings;
use KafkaViews;
use PostgreSQL::Test::Utils;
use Test::More;

my $broker = KafkaViews::Broker->new;
my $node = new_node('original', broker => $broker);
my $dir = PostgreSQL::Test::Utils::tempdir;
my $next = 0;

# One more record for both views.
sub feed { $next++; return $broker->produce('input', qq(\\N\t{"id":$next,"k":${\ ($next % 3)}})) }
sub ids { my ($topic) = @_; return join ' ', sort { $a <=> $b } map { /"id":(\d+)/ } $broker->consume($topic, format => '%v') }

$broker->create($_, 1, 'retention.ms=-1') for qw(input passed totals notes);
$node->safe_psql('postgres', q{
	CREATE SCHEMA app;
	CREATE FOREIGN TABLE input (id int, k int, at timestamptz OPTIONS (metadata 'timestamp')) SERVER broker OPTIONS (topic 'input');
	CREATE FOREIGN TABLE passed_sink (id int) SERVER broker OPTIONS (topic 'passed');
	CREATE FOREIGN TABLE totals_sink (k int OPTIONS (key 'true'), n bigint, mean numeric) SERVER broker OPTIONS (topic 'totals', mode 'upsert');
	CREATE FOREIGN TABLE notes (id int) SERVER broker OPTIONS (topic 'notes');
	CREATE TABLE noted (id int);
	BEGIN;
	CREATE MATERIALIZED VIEW app.passed WITH (kafka.continuous) AS SELECT i.id FROM input i JOIN input j ON j.id = i.id AND j.at = i.at;
	SELECT kafka.attach_sink('app.passed', 'passed_sink');
	CREATE TRIGGER rows AFTER INSERT ON app.passed FOR EACH ROW EXECUTE FUNCTION kafka.publish('passed_sink');
	COMMIT;
	BEGIN;
	CREATE MATERIALIZED VIEW totals WITH (kafka.continuous) AS SELECT k, count(*) AS n, avg(id) AS mean FROM input GROUP BY k;
	SELECT kafka.attach_sink('totals', 'totals_sink');
	COMMIT;
	CREATE TRIGGER publish AFTER INSERT ON noted FOR EACH ROW EXECUTE FUNCTION kafka.publish('notes');
	INSERT INTO noted VALUES (1);
});
feed() for 1 .. 4;
wait_for_view($node, $_) for qw(app.passed totals);
wait_for_sink($broker, 'notes', 1);
my $totals = scalar $broker->consume('totals');
$node->safe_psql('postgres', q{SELECT kafka.pause('passed'); SELECT kafka.pause('totals')});
my $publisher = kill_worker($node, 'publisher', 'STOP');
$node->safe_psql('postgres', 'INSERT INTO noted VALUES (2)');

my %dumps = (whole => [ '-Fc' ], schema => [ '--schema-only' ], data => [ '--data-only' ], quiet => [ '--data-only', '--disable-triggers' ]);
$node->command_ok([ 'pg_dump', @{ $dumps{$_} }, '-f', "$dir/$_", $node->connstr('postgres') ], "dump $_") for sort keys %dumps;
$node->stop('immediate');
kill 'KILL', $publisher;

for my $data (qw(quiet data))
{
	my $copy = new_node($data, extension => 0);

	$copy->safe_psql('postgres', 'CREATE DATABASE restored');
	$copy->command_ok([ 'psql', '-X', '-q', '-v', 'ON_ERROR_STOP=1', '-f', "$dir/$_", $copy->connstr('restored') ], "$data: $_ restores") for 'schema', $data;
	my (undef, undef, $error) = $copy->psql('restored', "SELECT kafka.adopt(); SELECT kafka.resume('passed'); SELECT kafka.resume('totals')");
	is($error, '', "$data: no view is without its rows");
	feed();
	wait_for_view($copy, $_, 'restored') for qw(app.passed totals);
	is(ids('passed'), join(' ', map { ($_, $_) } 1 .. $next), "$data: each row once by each trigger");
	is(scalar $broker->consume('totals'), $totals + $next - 4, "$data: each change of a group once");
	for my $view (qw(app.passed totals))
	{
		is($copy->safe_psql('restored', "SELECT * FROM kafka.verify('$view')"), '', "$data: $view equals its query");
		(undef, undef, $error) = $copy->psql('restored', "INSERT INTO $view SELECT * FROM $view");
		like($error, qr/cannot change continuous view/, "$data: nobody else writes to $view");
	}
	wait_for_sink($broker, 'notes', 2) if $data eq 'quiet';
	$copy->stop;
	is(ids('notes'), '1 2', 'quiet: the message that waited, once') if $data eq 'quiet';
}

my $copy = new_node('jobs', extension => 0);
my @restore = ('pg_restore', '-d', $copy->connstr('restored'));
my ($list) = run_command([ 'pg_restore', '-l', "$dir/whole" ]);
my $noted = scalar $broker->consume('notes');
append_to_file("$dir/outbox", join "\n", grep { /TABLE DATA kafka_state transaction_outbox / } split /\n/, $list);
append_to_file("$dir/rest", join "\n", grep { !/TABLE DATA kafka_state transaction_outbox / } split /\n/, $list);
$copy->safe_psql('postgres', 'CREATE DATABASE restored');
$copy->command_ok([ @restore, '--section', 'pre-data', "$dir/whole" ], 'jobs: what is created');
$copy->command_ok([ @restore, '--section', 'data', '-L', "$dir/outbox", "$dir/whole" ], 'jobs: what waits');
wait_until('the supervisor to say why nothing starts', sub { return slurp_file($copy->logfile) =~ /this database is not the one that Kafka knows/ });
$copy->command_ok([ @restore, '--section', $_, '-L', "$dir/rest", "$dir/whole" ], "jobs: $_") for qw(data post-data);
$copy->safe_psql('restored', 'SELECT kafka.adopt()');
wait_for_sink($broker, 'notes', $noted + 1);
is(scalar $broker->consume('notes'), $noted + 1, 'jobs: the message that waited goes out once');
$copy->stop;
done_testing();
