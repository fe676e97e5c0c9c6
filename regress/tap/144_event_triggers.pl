# A database whose event triggers write down every DDL, as auditors have them: they run queries while the extension itself is being made and dropped, and
# in the midst of what CREATE and DROP of a view do.
use strict;
use warnings;
use FindBin;
use lib $FindBin::RealBin;
use KafkaViews;
use Test::More;

my $broker = KafkaViews::Broker->shared;
my $node = new_node('main', extension => 0);

$broker->create($_, 1, 'retention.ms=-1') for qw(et_input et_output);
$node->safe_psql('postgres', q{
	CREATE TABLE ddl_log (tag text, object text);
	CREATE FUNCTION audit_start() RETURNS event_trigger LANGUAGE plpgsql AS $$ BEGIN INSERT INTO public.ddl_log VALUES ('before ' || tg_tag); END $$;
	CREATE FUNCTION audit_end() RETURNS event_trigger LANGUAGE plpgsql AS $$ BEGIN
		INSERT INTO public.ddl_log SELECT c.command_tag, c.object_identity FROM pg_event_trigger_ddl_commands() c; END $$;
	CREATE FUNCTION audit_drop() RETURNS event_trigger LANGUAGE plpgsql AS $$ BEGIN
		INSERT INTO public.ddl_log SELECT tg_tag, d.object_identity FROM pg_event_trigger_dropped_objects() d; END $$;
	CREATE EVENT TRIGGER audit_start ON ddl_command_start EXECUTE FUNCTION audit_start();
	CREATE EVENT TRIGGER audit_end ON ddl_command_end EXECUTE FUNCTION audit_end();
	CREATE EVENT TRIGGER audit_drop ON sql_drop EXECUTE FUNCTION audit_drop();
});
for my $times (1, 2)
{
	KafkaViews::add_extension($node, 'postgres', $broker);
	$node->safe_psql('postgres', q{
		CREATE FOREIGN TABLE input (id int) SERVER broker OPTIONS (topic 'et_input');
		CREATE FOREIGN TABLE output (id int) SERVER broker OPTIONS (topic 'et_output');
		BEGIN;
		CREATE MATERIALIZED VIEW passed WITH (kafka.continuous, kafka.pipeline = 'p') AS SELECT id FROM input;
		CREATE VIEW doubled WITH (kafka.continuous, kafka.pipeline = 'p') AS SELECT 2 * id AS id FROM input;
		SELECT kafka.attach_sink('passed', 'output');
		COMMIT;
	});
	$broker->produce('et_input', qq({"id": $times}));
	wait_for_view($node, 'passed');
	is($node->safe_psql('postgres', 'SELECT count(*) FROM passed'), $times, 'a view works among them');
	$node->safe_psql('postgres', 'DROP VIEW doubled; DROP EXTENSION kafka_views CASCADE');
	is($node->safe_psql('postgres', q{SELECT count(*) > 0 FROM ddl_log WHERE tag = 'DROP EXTENSION' AND object = 'public.passed'}), 't', 'they see what is dropped');
}
is(join(' ', map { /(\d+)/ } wait_for_sink($broker, 'et_output', 3, format => '%v')), '1 1 2', 'each of the two views was published once');

$node->stop;
done_testing();
