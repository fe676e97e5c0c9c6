-- Every sink that could not hold the rows of its view or table: refused when its topic table or its trigger is made. No broker is asked.
CREATE SCHEMA sinks_refused;
SET search_path = sinks_refused, public;
SET timezone = 'UTC';
CREATE SERVER sinks_refused FOREIGN DATA WRAPPER kafka OPTIONS (bootstrap_servers 'localhost:1');
CREATE SERVER sinks_refused_other FOREIGN DATA WRAPPER kafka OPTIONS (bootstrap_servers 'localhost:2');
CREATE FOREIGN TABLE orders (order_id bigint, customer_id bigint, amount numeric(12,2), region char(3), at timestamptz)
	SERVER sinks_refused OPTIONS (topic 'orders', event_time 'at');
CREATE MATERIALIZED VIEW totals WITH (kafka.continuous) AS SELECT customer_id, count(*) AS n, sum(amount) AS amount FROM orders GROUP BY customer_id WITH NO DATA;
CREATE MATERIALIZED VIEW daily WITH (kafka.continuous) AS
	SELECT kafka.tumble(at, '1 day') AS day, customer_id, count(*) AS n FROM orders GROUP BY day, customer_id WITH NO DATA;
CREATE MATERIALIZED VIEW plain WITH (kafka.continuous) AS SELECT order_id, customer_id, amount, region, at FROM orders WITH NO DATA;
CREATE TABLE stock (article text PRIMARY KEY, code int UNIQUE, pieces int);

-- key formats: text and kafka are one value, and Java's serializers know no range
CREATE FOREIGN TABLE no_topic (day tstzrange OPTIONS (key 'true'), customer_id bigint OPTIONS (key 'true'), n bigint)
	SERVER sinks_refused OPTIONS (topic 'x', mode 'upsert', key_format 'text');
CREATE FOREIGN TABLE no_topic (day tstzrange OPTIONS (key 'true'), customer_id bigint OPTIONS (key 'true'), n bigint)
	SERVER sinks_refused OPTIONS (topic 'x', mode 'upsert', key_format 'kafka');
CREATE FOREIGN TABLE no_topic (day tstzrange OPTIONS (key 'true'), n bigint) SERVER sinks_refused OPTIONS (topic 'x', mode 'upsert', key_format 'kafka');
CREATE FOREIGN TABLE no_topic (id uuid OPTIONS (key 'true'), n bigint) SERVER sinks_refused OPTIONS (topic 'x', mode 'upsert', key_format 'kafka');
CREATE FOREIGN TABLE no_topic (id float8 OPTIONS (key 'true'), n bigint) SERVER sinks_refused OPTIONS (topic 'x', mode 'upsert', key_format 'kafka');

-- the key of an upsert sink is a key of the view
CREATE FOREIGN TABLE by_day (day tstzrange OPTIONS (key 'true'), n bigint) SERVER sinks_refused OPTIONS (topic 'by-day', mode 'upsert');
SELECT kafka.attach_sink('daily', 'by_day');
CREATE FOREIGN TABLE by_order (order_id bigint OPTIONS (key 'true'), amount numeric) SERVER sinks_refused OPTIONS (topic 'by-order', mode 'upsert');
SELECT kafka.attach_sink('plain', 'by_order');
CREATE FOREIGN TABLE by_amount (amount int OPTIONS (key 'true'), customer_id bigint OPTIONS (key 'true')) SERVER sinks_refused OPTIONS (topic 'by-amount', mode 'upsert');
SELECT kafka.attach_sink('totals', 'by_amount');
-- nor may the assignment to the topic's type make one key of two
CREATE UNIQUE INDEX ON plain (amount);
CREATE UNIQUE INDEX ON plain (at);
CREATE UNIQUE INDEX ON plain (region);
CREATE FOREIGN TABLE by_whole_amount (amount bigint OPTIONS (key 'true')) SERVER sinks_refused OPTIONS (topic 'x', mode 'upsert');
CREATE FOREIGN TABLE by_coarse_amount (amount numeric(12,1) OPTIONS (key 'true')) SERVER sinks_refused OPTIONS (topic 'x', mode 'upsert');
CREATE FOREIGN TABLE by_second (at timestamptz(0) OPTIONS (key 'true')) SERVER sinks_refused OPTIONS (topic 'x', mode 'upsert');
CREATE FOREIGN TABLE by_date (at date OPTIONS (key 'true')) SERVER sinks_refused OPTIONS (topic 'x', mode 'upsert');
CREATE FOREIGN TABLE by_any_amount (amount numeric OPTIONS (key 'true')) SERVER sinks_refused OPTIONS (topic 'x', mode 'upsert');
CREATE COLLATION any_case (provider = icu, locale = 'und-u-ks-level2', deterministic = false);
CREATE FOREIGN TABLE by_any_region (region text OPTIONS (key 'true') COLLATE any_case) SERVER sinks_refused OPTIONS (topic 'x', mode 'upsert');
CREATE FOREIGN TABLE by_region (region text OPTIONS (key 'true')) SERVER sinks_refused OPTIONS (topic 'x', mode 'upsert');
SELECT kafka.attach_sink('plain', 'by_whole_amount');
SELECT kafka.attach_sink('plain', 'by_coarse_amount');
SELECT kafka.attach_sink('plain', 'by_second');
SELECT kafka.attach_sink('plain', 'by_date');
SELECT kafka.attach_sink('plain', 'by_any_region');
SELECT kafka.attach_sink('plain', 'by_any_amount', false);
SELECT kafka.attach_sink('plain', 'by_region', false);
-- a unique column with several nulls is no key of a topic that can write a null as its key
CREATE FOREIGN TABLE by_code_json (code int OPTIONS (key 'true'), pieces int) SERVER sinks_refused OPTIONS (topic 'x', mode 'upsert', key_format 'json');
CREATE FOREIGN TABLE by_code_text (code int OPTIONS (key 'true'), pieces int) SERVER sinks_refused OPTIONS (topic 'x', mode 'upsert');
CREATE TRIGGER t AFTER INSERT ON stock FOR EACH ROW EXECUTE FUNCTION kafka.publish('by_code_json');
CREATE TRIGGER t AFTER INSERT ON stock FOR EACH ROW EXECUTE FUNCTION kafka.publish('by_code_text');

-- columns, rights, names
CREATE FOREIGN TABLE with_name (customer_id bigint OPTIONS (key 'true'), name text) SERVER sinks_refused OPTIONS (topic 'x', mode 'upsert');
SELECT kafka.attach_sink('totals', 'with_name');
SELECT kafka.attach_sink('totals', 'stock');
SELECT kafka.attach_sink('stock', 'by_order');
CREATE TRIGGER t AFTER INSERT ON totals FOR EACH ROW EXECUTE FUNCTION kafka.publish('nowhere');
CREATE TRIGGER t AFTER INSERT ON totals FOR EACH ROW EXECUTE FUNCTION kafka.publish();
-- one Kafka transaction carries the view's output and its positions; an ordinary table may write anywhere
CREATE FOREIGN TABLE elsewhere (customer_id bigint OPTIONS (key 'true'), n bigint) SERVER sinks_refused_other OPTIONS (topic 'x', mode 'upsert');
CREATE FOREIGN TABLE stock_elsewhere (article text OPTIONS (key 'true'), pieces int) SERVER sinks_refused_other OPTIONS (topic 'x', mode 'upsert');
SELECT kafka.attach_sink('totals', 'elsewhere');
SELECT kafka.create_sink('totals', 'elsewhere', server => 'sinks_refused_other');
CREATE TRIGGER t AFTER UPDATE ON totals FOR EACH ROW EXECUTE FUNCTION kafka.publish('elsewhere');
CREATE TRIGGER elsewhere AFTER INSERT ON stock FOR EACH ROW EXECUTE FUNCTION kafka.publish('stock_elsewhere');

-- a trigger that could not see its rows
CREATE FOREIGN TABLE states (customer_id bigint OPTIONS (key 'true'), n bigint, amount numeric) SERVER sinks_refused OPTIONS (topic 'states', mode 'upsert');
CREATE FOREIGN TABLE facts (customer_id bigint, n bigint, amount numeric) SERVER sinks_refused OPTIONS (topic 'facts');
CREATE FOREIGN TABLE wide (customer_id bigint OPTIONS (key 'true'), n bigint OPTIONS (key 'true'), amount numeric) SERVER sinks_refused OPTIONS (topic 'wide', mode 'upsert');
CREATE TRIGGER t BEFORE INSERT ON stock FOR EACH ROW EXECUTE FUNCTION kafka.publish('by_code_text');
CREATE TRIGGER t AFTER TRUNCATE ON stock FOR EACH STATEMENT EXECUTE FUNCTION kafka.publish('by_code_text');
CREATE TRIGGER t AFTER INSERT ON totals FOR EACH STATEMENT EXECUTE FUNCTION kafka.publish('states');
CREATE TRIGGER t AFTER UPDATE ON totals REFERENCING OLD TABLE AS old FOR EACH STATEMENT EXECUTE FUNCTION kafka.publish('facts');
CREATE TRIGGER t AFTER DELETE ON totals FOR EACH STATEMENT EXECUTE FUNCTION kafka.publish('states');
-- the key of a view's row never changes, unless the topic's has more columns
CREATE TRIGGER states_update AFTER UPDATE ON totals REFERENCING NEW TABLE AS new FOR EACH STATEMENT EXECUTE FUNCTION kafka.publish('states');
CREATE TRIGGER t AFTER UPDATE ON totals REFERENCING NEW TABLE AS new FOR EACH STATEMENT EXECUTE FUNCTION kafka.publish('wide');
CREATE TRIGGER t AFTER UPDATE ON stock REFERENCING NEW TABLE AS new FOR EACH STATEMENT EXECUTE FUNCTION kafka.publish('by_code_text');
SELECT kafka.attach_sink('totals', 'wide', false);
SELECT tgname, tgoldtable, tgnewtable FROM pg_trigger WHERE tgrelid = 'totals'::regclass AND tgname ~ 'wide' ORDER BY tgname;

DROP SCHEMA sinks_refused CASCADE;
DROP SERVER sinks_refused, sinks_refused_other CASCADE;
