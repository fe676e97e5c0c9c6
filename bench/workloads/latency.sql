-- The enrichment, carrying along when each order was sent (sent_us, microseconds since 1970).
CREATE FOREIGN TABLE live_orders (
  order_id bigint, customer_id bigint, amount numeric(12,2), created_at timestamptz, sent_us bigint
) SERVER broker OPTIONS (topic 'live-orders', event_time 'created_at');

CREATE FOREIGN TABLE sink (order_id bigint OPTIONS (key 'true'), amount numeric, name text, email text, sent_us bigint)
  SERVER broker OPTIONS (topic :'sink');

BEGIN;
CREATE MATERIALIZED VIEW result WITH (kafka.continuous) AS
SELECT o.order_id, o.amount, c.name, c.email, o.sent_us
FROM live_orders o
JOIN customers c ON c.customer_id = o.customer_id;

CREATE TRIGGER publish AFTER INSERT ON result
  REFERENCING NEW TABLE AS new FOR EACH STATEMENT EXECUTE FUNCTION kafka.publish('sink');
COMMIT;
