-- The orders that were just created, without their state.
CREATE FOREIGN TABLE sink (order_id bigint OPTIONS (key 'true'), customer_id bigint, amount numeric, created_at timestamptz)
  SERVER broker OPTIONS (topic :'sink');

BEGIN;
CREATE MATERIALIZED VIEW result WITH (kafka.continuous) AS
SELECT order_id, customer_id, amount, created_at
FROM orders
WHERE state = 'CREATED';

CREATE TRIGGER publish AFTER INSERT ON result
  REFERENCING NEW TABLE AS new FOR EACH STATEMENT EXECUTE FUNCTION kafka.publish('sink');
COMMIT;
