# A batch whose join makes more rows than temp_file_limit bears is run again with half of its records until it fits; afterwards
# batches grow again. The log says it once. Where not even one record fits the pipeline says what to raise, and goes on when that is done.

use strict;
use warnings;
use KafkaViews;
use PostgreSQL::Test::Utils;
use Test::More;

my $broker = KafkaViews::Broker->shared;
my $node = new_node('main', broker => $broker, conf => "work_mem = '64kB'\ntemp_file_limit = '1MB'");
my $at = 1_700_000_000_000;

sub query { return $node->safe_psql('postgres', $_[0]) }
sub produce { my ($side, @ids) = @_; $broker->produce("large_$side", map { qq(ts=$at k\t{"id":$_,"k":1,"at":$at}) } @ids); return }

$broker->create("large_$_", 1, 'retention.ms=-1') for qw(lefts rights);
query(<<~"SQL") for qw(lefts rights);
	CREATE FOREIGN TABLE $_ (id int, k int, at timestamptz) SERVER broker OPTIONS (topic 'large_$_', event_time 'at');
	SQL
produce($_, 1 .. 400) for qw(lefts rights);
query(<<~'SQL');
	CREATE MATERIALIZED VIEW pairs WITH (kafka.continuous) AS
	  SELECT l.k, count(*) AS n, sum(r.id) AS total FROM lefts l JOIN rights r ON r.k = l.k AND r.at BETWEEN l.at AND l.at + interval '1 min' GROUP BY l.k;
	SQL
wait_for_view($node, 'pairs');
is(query('SELECT n, total FROM pairs'), '160000|' . 400 * 400 * 401 / 2, 'each pair is counted once');
my @logged = slurp_file($node->logfile) =~ /LOG:  (a batch of .*)/g;
is(scalar @logged, 1, 'the log says once that batches were too large');
like($logged[0], qr/^a batch of \d+ records of pipeline "pairs" is too large and is run in parts$/, 'and of which pipeline');
cmp_ok(query("SELECT batch FROM kafka.pipelines"), '>', 3, 'there were several');

$node->append_conf('postgresql.conf', "temp_file_limit = '0'");
$node->reload;
produce('lefts', 401 .. 3000);
produce('rights', 401 .. 3000);
wait_until('the pipeline to stop', sub { query("SELECT state FROM kafka.pipelines") eq 'failed' });
like(query('SELECT error_hint FROM kafka.pipelines'), qr/^A smaller batch is not possible. Raise temp_file_limit/, 'it says what to raise');
$node->append_conf('postgresql.conf', "temp_file_limit = '-1'");
$node->reload;
wait_for_view($node, 'pairs');
is(query('SELECT n FROM pairs'), 3000 * 3000, 'done as it says, the pipeline goes on');
done_testing();
