-- Count and sum per customer; every change is published. How many customers there are is the topic's business.
CREATE FOREIGN TABLE sink (customer_id bigint OPTIONS (key 'true'), orders bigint, total numeric)
  SERVER broker OPTIONS (topic :'sink', mode 'upsert');

BEGIN;
CREATE MATERIALIZED VIEW result WITH (kafka.continuous) AS
SELECT customer_id, count(*) AS orders, sum(amount) AS total
FROM orders
GROUP BY customer_id;

CREATE TRIGGER publish_new AFTER INSERT ON result
  REFERENCING NEW TABLE AS new FOR EACH STATEMENT EXECUTE FUNCTION kafka.publish('sink');
CREATE TRIGGER publish_changed AFTER UPDATE ON result
  REFERENCING OLD TABLE AS old NEW TABLE AS new FOR EACH STATEMENT EXECUTE FUNCTION kafka.publish('sink');
COMMIT;
