-- Everything the demo creates. The topics exist; from here on it is SQL.
-- usage: psql -v bootstrap=HOST:PORT -f demo.sql

CREATE EXTENSION kafka_views;

CREATE SERVER broker FOREIGN DATA WRAPPER kafka OPTIONS (bootstrap_servers :'bootstrap');

CREATE FOREIGN TABLE orders (                          -- a foreign table is a topic; this one is a stream
  order_id bigint, customer_id bigint, amount numeric(12,2), state text, created_at timestamptz
) SERVER broker OPTIONS (topic 'orders', event_time 'created_at');

CREATE FOREIGN TABLE payments (payment_id bigint, order_id bigint, paid_at timestamptz)
  SERVER broker OPTIONS (topic 'payments', event_time 'paid_at');

CREATE FOREIGN TABLE customers (                       -- this one is a table: the last value per key
  customer_id bigint OPTIONS (key 'true'), name text, email text
) SERVER broker OPTIONS (topic 'customers', mode 'upsert');

CREATE FOREIGN TABLE emails_to_send (order_id bigint OPTIONS (key 'true'), amount numeric, name text, email text, paid_at timestamptz)
  SERVER broker OPTIONS (topic 'emails-to-send');

BEGIN;                                                 -- a view starts when its transaction commits
CREATE MATERIALIZED VIEW order_emails WITH (kafka.continuous) AS
SELECT o.order_id, o.amount, c.name, c.email, p.paid_at
FROM orders o
JOIN payments p ON p.order_id = o.order_id AND p.paid_at BETWEEN o.created_at AND o.created_at + interval '1 hour'
JOIN customers c ON c.customer_id = o.customer_id
WHERE o.state = 'CREATED';

CREATE TRIGGER publish AFTER INSERT ON order_emails    -- an output trigger
  REFERENCING NEW TABLE AS new FOR EACH STATEMENT EXECUTE FUNCTION kafka.publish('emails_to_send');
COMMIT;

-- A second view, over the orders alone: how many there were in each minute, and what they were worth.
CREATE MATERIALIZED VIEW orders_per_minute WITH (kafka.continuous) AS
SELECT kafka.tumble(created_at, '1 minute') AS minute, count(*) AS orders, sum(amount) AS worth
FROM orders
GROUP BY 1;
