-- Orders with their customer's name and e-mail address.
CREATE FOREIGN TABLE sink (order_id bigint OPTIONS (key 'true'), amount numeric, name text, email text, created_at timestamptz)
  SERVER broker OPTIONS (topic :'sink');

BEGIN;
CREATE MATERIALIZED VIEW result WITH (kafka.continuous) AS
SELECT o.order_id, o.amount, c.name, c.email, o.created_at
FROM orders o
JOIN customers c ON c.customer_id = o.customer_id;

CREATE TRIGGER publish AFTER INSERT ON result
  REFERENCING NEW TABLE AS new FOR EACH STATEMENT EXECUTE FUNCTION kafka.publish('sink');
COMMIT;
