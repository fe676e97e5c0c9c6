-- The example at the head of DESIGN.md, step by step: an e-mail for each payment within the hour of a created order.
-- Proves: the order of arrival does not matter, each pair comes once, and what does not fit stays out.
SELECT plan(15);
SELECT kafka_test.create_topic('head_orders', 2, 'retention.ms=-1'), kafka_test.create_topic('head_payments', 2, 'retention.ms=-1'),
	kafka_test.create_topic('head_customers', 1, 'cleanup.policy=compact'), kafka_test.create_topic('head_emails', 1, 'retention.ms=-1')
\g /dev/null
SELECT kafka_test.create_server('broker') \g /dev/null

CREATE FOREIGN TABLE orders (
  order_id bigint, customer_id bigint, amount numeric(12,2), state text, created_at timestamptz
) SERVER broker OPTIONS (topic 'head_orders', event_time 'created_at');
CREATE FOREIGN TABLE payments (payment_id bigint, order_id bigint, paid_at timestamptz)
  SERVER broker OPTIONS (topic 'head_payments', event_time 'paid_at');
CREATE FOREIGN TABLE customers (
  customer_id bigint OPTIONS (key 'true'), name text, email text
) SERVER broker OPTIONS (topic 'head_customers', mode 'upsert');
CREATE FOREIGN TABLE emails_to_send (order_id bigint OPTIONS (key 'true'), amount numeric, name text, email text, paid_at timestamptz)
  SERVER broker OPTIONS (topic 'head_emails');

SELECT kafka_test.produce('head_customers', $$VALUES ('1', '{"name": "Ann", "email": "ann@example.org"}'), ('2', '{"name": "Bob", "email": null}')$$) \g /dev/null

BEGIN;
CREATE MATERIALIZED VIEW order_emails WITH (kafka.continuous) AS
SELECT o.order_id, o.amount, c.name, c.email, p.paid_at
FROM orders o
JOIN payments p ON p.order_id = o.order_id AND p.paid_at BETWEEN o.created_at AND o.created_at + interval '1 hour'
JOIN customers c ON c.customer_id = o.customer_id
WHERE o.state = 'CREATED';
CREATE TRIGGER publish AFTER INSERT ON order_emails
  REFERENCING NEW TABLE AS new FOR EACH STATEMENT EXECUTE FUNCTION kafka.publish('emails_to_send');
COMMIT;

-- what a step produces, by minutes after ten o'clock; the record's timestamp is the event's
CREATE FUNCTION order_at(order_id int, minute numeric, customer_id int DEFAULT 1, state text DEFAULT 'CREATED') RETURNS void LANGUAGE sql AS $$
	SELECT kafka_test.produce_at('head_orders', format($q$SELECT NULL, 1700042400000 + %2$s * 60000, %3$s,
		jsonb_build_object('order_id', %1$s, 'customer_id', %3$s, 'amount', %1$s + 0.5, 'state', %4$L, 'created_at', 1700042400000 + %2$s * 60000)$q$,
		order_id, minute, customer_id, state))
$$;
CREATE FUNCTION payment_at(order_id int, minute numeric) RETURNS void LANGUAGE sql AS $$
	SELECT kafka_test.produce_at('head_payments', format($q$SELECT NULL, (1700042400000 + %2$s * 60000)::bigint, %1$s,
		jsonb_build_object('payment_id', 1, 'order_id', %1$s, 'paid_at', timestamptz '2023-11-15 10:00+00' + %2$s * interval '1 minute')$q$,
		order_id, minute))
$$;
-- the orders in the view, once everything is applied
CREATE FUNCTION paid_orders() RETURNS bigint[] LANGUAGE plpgsql AS $$
BEGIN
	IF NOT kafka.wait_for_view('order_emails', '60s') THEN RAISE 'not caught up'; END IF;
	RETURN (SELECT array_agg(order_id ORDER BY order_id) FROM order_emails);
END $$;

SELECT is(paid_orders(), NULL, 'an empty view over empty topics');
SELECT order_at(1, 0) \g /dev/null
SELECT is(paid_orders(), NULL, 'an order alone');
SELECT payment_at(1, 5) \g /dev/null
SELECT is(paid_orders(), '{1}', 'its payment makes a row');
SELECT results_eq('SELECT order_id, amount, name, email, paid_at FROM order_emails',
	$$VALUES (1::bigint, 1.50::numeric(12,2), 'Ann', 'ann@example.org', timestamptz '2023-11-15 10:05+00')$$, 'the row has what both sides and the table know');

SELECT payment_at(2, 10) \g /dev/null
SELECT is(paid_orders(), '{1}', 'a payment before its order waits');
SELECT order_at(2, 8, 2) \g /dev/null
SELECT is(paid_orders(), '{1,2}', 'until the order comes');
SELECT is((SELECT email FROM order_emails WHERE order_id = 2), NULL, 'a JSON null of the table stays null');

SELECT order_at(3, 11), payment_at(1, 12) \g /dev/null
SELECT is(paid_orders(), '{1,1,2}', 'an order that is never paid has no row, one paid twice has two');

SELECT order_at(4, 13), order_at(5, 13), order_at(6, 13), payment_at(4, 12.99), payment_at(5, 73), payment_at(6, 73.01) \g /dev/null
SELECT is(paid_orders(), '{1,1,2,5}', 'a payment before its order''s time or after the hour joins nothing, one at the end of the hour does');

SELECT order_at(7, 70, 1, 'CANCELLED'), order_at(8, 70, 99), payment_at(7, 71), payment_at(8, 71) \g /dev/null
SELECT is(paid_orders(), '{1,1,2,5}', 'nor does a payment of an order that was not created, or of nobody');

SELECT kafka_test.produce('head_customers', $$VALUES ('1', '{"name": "Anna", "email": "anna@example.org"}'), ('2', NULL)$$) \g /dev/null
SELECT is(paid_orders(), '{1,1,2,5}', 'a changed customer revises nothing');
SELECT order_at(9, 72), order_at(10, 72, 2), payment_at(9, 74), payment_at(10, 74) \g /dev/null
SELECT is(paid_orders(), '{1,1,2,5,9}', 'but later orders meet the table as it is then, without the deleted customer');
SELECT results_eq('SELECT order_id, name FROM order_emails ORDER BY order_id, paid_at',
	$$VALUES (1::bigint, 'Ann'), (1, 'Ann'), (2, 'Bob'), (5, 'Ann'), (9, 'Anna')$$, 'each with the name of its moment');

SELECT results_eq(
	$$SELECT key, value::jsonb->>'name', (value::jsonb->>'paid_at')::timestamptz FROM kafka_test.consume('head_emails') ORDER BY 1, 3$$,
	$$SELECT order_id::text, name, paid_at FROM order_emails ORDER BY 1, 3$$, 'the sink has one message a row');
SELECT is((SELECT late_rows FROM kafka_state.view), 0::bigint, 'nothing was late');
SELECT * FROM finish();
