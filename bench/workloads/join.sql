-- Orders with the payment that came within an hour.
CREATE FOREIGN TABLE sink (order_id bigint OPTIONS (key 'true'), customer_id bigint, amount numeric, payment_id bigint, paid_at timestamptz)
  SERVER broker OPTIONS (topic :'sink');

BEGIN;
CREATE MATERIALIZED VIEW result WITH (kafka.continuous) AS
SELECT o.order_id, o.customer_id, o.amount, p.payment_id, p.paid_at
FROM orders o
JOIN payments p ON p.order_id = o.order_id AND p.paid_at BETWEEN o.created_at AND o.created_at + interval '1 hour';

CREATE TRIGGER publish AFTER INSERT ON result
  REFERENCING NEW TABLE AS new FOR EACH STATEMENT EXECUTE FUNCTION kafka.publish('sink');
COMMIT;
