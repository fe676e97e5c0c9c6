-- The inputs of all workloads; psql variables: bootstrap, orders (the topic).
CREATE EXTENSION kafka_views;

CREATE SERVER broker FOREIGN DATA WRAPPER kafka OPTIONS (bootstrap_servers :'bootstrap');

CREATE FOREIGN TABLE orders (
  order_id bigint, customer_id bigint, amount numeric(12,2), state text, created_at timestamptz
) SERVER broker OPTIONS (topic :'orders', event_time 'created_at');

CREATE FOREIGN TABLE payments (payment_id bigint, order_id bigint, paid_at timestamptz)
  SERVER broker OPTIONS (topic 'payments', event_time 'paid_at');

CREATE FOREIGN TABLE customers (
  customer_id bigint OPTIONS (key 'true'), name text, email text
) SERVER broker OPTIONS (topic 'customers', mode 'upsert');
