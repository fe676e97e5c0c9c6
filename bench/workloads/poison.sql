-- A poison storm: every record has a text where the table wants a number, so each becomes a dead letter of the topic.
CREATE FOREIGN TABLE bad_orders (
  order_id bigint, amount numeric(12,2), state int, created_at timestamptz
) SERVER broker OPTIONS (topic :'orders', event_time 'created_at');

CREATE FOREIGN TABLE sink (order_id bigint OPTIONS (key 'true'), amount numeric, state int, created_at timestamptz)
  SERVER broker OPTIONS (topic :'sink');

BEGIN;
CREATE MATERIALIZED VIEW result WITH (kafka.continuous) AS
SELECT order_id, amount, state, created_at
FROM bad_orders;

CREATE TRIGGER publish AFTER INSERT ON result
  REFERENCING NEW TABLE AS new FOR EACH STATEMENT EXECUTE FUNCTION kafka.publish('sink');
COMMIT;
