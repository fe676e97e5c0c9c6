"""The topics, views, sinks and tables of the chaos, and what each must show at the end.

Why it exists: everything that is compared stands here once, a view beside its oracle. The oracles are queries over schema `truth`,
where the records are as another client reads them from the topics (compare.py): no foreign table and no view has a part in them.

Time: a second of the clock is SPEED seconds of event time, and records are at most DISORDER out of order in their partition, less
than any grace here, so nothing is ever late. The last record of every partition of orders and payments, one a partition and LAST_STEP
after the others, closes what waits for time.
"""
from dataclasses import dataclass

SPEED = 20
DISORDER_S = 60
LAST_STEP_S = 3 * 3600
CUSTOMERS, REGIONS, DEVICES = 60, 8, 40

TOPICS = {"orders": 2, "payments": 2, "events": 2, "customers": 2, "regions": 1}
# what ordinary transactions write to, and what the columns of each are
FACT_TOPICS = {"facts": 2, "direct": 2, "deferred": 1, "states": 2}
# what records may be missing between: they cannot be decoded
BAD = "bad"
# kinds of events: by the last one a record is a dead letter as long as its domain refuses it (dead_letters.py)
KINDS, SHARES = "abc", [66, 33, 1]

SCHEMA = """
CREATE EXTENSION kafka_views;
CREATE SCHEMA elsewhere;
CREATE SERVER broker FOREIGN DATA WRAPPER kafka OPTIONS (bootstrap_servers '{broker}', transaction_timeout_ms '15000');
CREATE FOREIGN TABLE orders (order_id bigint, customer_id int, amount numeric, created_at timestamptz)
  SERVER broker OPTIONS (topic 'orders', event_time 'created_at');
CREATE FOREIGN TABLE payments (payment_id bigint, order_id bigint, paid numeric, paid_at timestamptz)
  SERVER broker OPTIONS (topic 'payments', event_time 'paid_at');
CREATE SCHEMA one;
CREATE SCHEMA two;
CREATE DOMAIN one.word AS text CONSTRAINT word_check CHECK (value IN ('a', 'b'));
CREATE FOREIGN TABLE events (event_id bigint, device int, kind one.word, value int, at timestamptz)
  SERVER broker OPTIONS (topic 'events', event_time 'at');
CREATE FOREIGN TABLE customers (customer_id int OPTIONS (key 'true'), name text, region_id int, version bigint)
  SERVER broker OPTIONS (topic 'customers', mode 'upsert');
CREATE FOREIGN TABLE regions (region_id int OPTIONS (key 'true'), region text, version bigint)
  SERVER broker OPTIONS (topic 'regions', mode 'upsert');

CREATE FOREIGN TABLE facts (session int OPTIONS (key 'true'), n bigint) SERVER broker OPTIONS (topic 'facts');
CREATE FOREIGN TABLE direct (session int OPTIONS (key 'true'), n bigint) SERVER broker OPTIONS (topic 'direct');
CREATE FOREIGN TABLE deferred (session int OPTIONS (key 'true'), n bigint) SERVER broker OPTIONS (topic 'deferred');
CREATE FOREIGN TABLE states (k int OPTIONS (key 'true'), n bigint) SERVER broker OPTIONS (topic 'states', mode 'upsert');
CREATE SEQUENCE versions;
CREATE TABLE fact (session int, n bigint, PRIMARY KEY (session, n));
CREATE TABLE direct_fact (LIKE fact INCLUDING ALL);
CREATE TABLE deferred_fact (LIKE fact INCLUDING ALL);
CREATE TABLE state (k int PRIMARY KEY, n bigint);
CREATE TRIGGER publish AFTER INSERT ON fact REFERENCING NEW TABLE AS new FOR EACH STATEMENT EXECUTE FUNCTION kafka.publish('facts');
CREATE TRIGGER publish AFTER INSERT OR UPDATE OR DELETE ON state FOR EACH ROW EXECUTE FUNCTION kafka.publish('states');
CREATE FUNCTION write_deferred() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN INSERT INTO deferred VALUES (new.session, new.n); RETURN NULL; END $$;
CREATE CONSTRAINT TRIGGER publish AFTER INSERT ON deferred_fact DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION write_deferred();

-- what views are made of, and what bears its name for a while (changes.py): whoever took that for it would show it
CREATE DOMAIN one.word_next AS text CHECK (value = 'none');
CREATE DOMAIN two.word AS text CHECK (value = 'none');
CREATE FUNCTION one.label(int) RETURNS text LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN RETURN 'label ' || $1 % 3; END $$;
CREATE FUNCTION one.label_next(int) RETURNS text LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN RETURN 'next'; END $$;
CREATE FUNCTION two.label(int) RETURNS text LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN RETURN 'two'; END $$;
CREATE TABLE one.ranks AS SELECT kind, rank FROM (VALUES ('a', 1), ('b', 2)) r (kind, rank);
CREATE TABLE one.ranks_next AS SELECT kind, 3 AS rank FROM one.ranks;
CREATE TABLE two.ranks AS SELECT kind, 4 AS rank FROM one.ranks;
REVOKE EXECUTE ON FUNCTION one.label(int) FROM PUBLIC;
CREATE ROLE keeper;
GRANT USAGE ON SCHEMA elsewhere, two TO keeper;

-- what was in a view when a sink was detached from it
CREATE TABLE detached (topic text, keyed boolean, row_data jsonb);
-- dead letters that were discarded
CREATE TABLE discarded (id bigint, pipeline text, topic text, partition int, "offset" bigint);
"""

# conditions of the join, of the view and of its oracle
PAID_IN_TIME = "p.order_id = o.order_id AND p.paid_at BETWEEN o.created_at AND o.created_at + interval '10 minutes'"


@dataclass
class View:
    name: str
    query: str
    oracle: str                 # over schema truth
    keys: list = None           # of a view that changes: what its sink is keyed by; None: rows are only added
    grows: str = None           # a column that only grows, from message to message of a key
    over: bool = False          # reads views of its pipeline
    stored: bool = True
    options: str = ""
    verify: bool = True         # kafka.verify can compare it


PIPELINES = {
    "shop": [
        View("paid", f"SELECT o.order_id, c.name, o.amount, p.payment_id, p.paid_at FROM orders o JOIN payments p ON {PAID_IN_TIME}"
             " JOIN customers c ON c.customer_id = o.customer_id",
             f"SELECT o.order_id, 'c' || o.customer_id, o.amount, p.payment_id, p.paid_at FROM truth.orders o JOIN truth.payments p ON {PAID_IN_TIME}",
             options="kafka.grace = '5 minutes'", verify=False),
        View("names", "SELECT name, count(*) AS n, sum(amount) AS total FROM paid GROUP BY name",
             f"SELECT 'c' || o.customer_id, count(*), sum(o.amount) FROM truth.orders o JOIN truth.payments p ON {PAID_IN_TIME} GROUP BY 1",
             keys=["name"], grows="n", over=True, verify=False),
        View("checked", f"SELECT o.order_id, o.created_at, p.payment_id FROM orders o LEFT JOIN payments p ON {PAID_IN_TIME}",
             f"SELECT o.order_id, o.created_at, p.payment_id FROM truth.orders o LEFT JOIN truth.payments p ON {PAID_IN_TIME}",
             options="kafka.grace = '5 minutes', kafka.event_time = 'created_at'"),
    ],
    "windows": [
        View("minutes", "SELECT kafka.tumble(created_at, interval '1 minute') AS during, count(*) AS n, sum(amount) AS total FROM orders GROUP BY during",
             "SELECT kafka.tumble(created_at, interval '1 minute') AS during, count(*), sum(amount) FROM truth.orders WHERE NOT last GROUP BY during",
             options="kafka.emit = 'final', kafka.grace = '5 minutes'"),
        View("hops", "SELECT during, order_id % 5 AS part, count(*) AS n, sum(paid) AS total FROM payments,"
             " LATERAL kafka.hop(paid_at, interval '2 minutes', interval '1 minute') AS during GROUP BY during, part",
             "SELECT during, order_id % 5 AS part, count(*), sum(paid) FROM truth.payments,"
             " LATERAL kafka.hop(paid_at, interval '2 minutes', interval '1 minute') AS during GROUP BY during, part",
             keys=["during", "part"], grows="n", options="kafka.grace = '5 minutes'"),
        View("visits", "SELECT customer_id, kafka.session(created_at, interval '30 s') AS during, count(*) AS n, sum(amount) AS total"
             " FROM orders GROUP BY customer_id, during",
             "SELECT customer_id, tstzrange(min(created_at), max(created_at), '[]'), count(*), sum(amount) FROM ("
             "SELECT *, count(*) FILTER (WHERE first) OVER (PARTITION BY customer_id ORDER BY created_at) AS visit FROM ("
             "SELECT *, created_at - lag(created_at) OVER (PARTITION BY customer_id ORDER BY created_at) > interval '30 s' AS first FROM truth.orders) o) o"
             " GROUP BY customer_id, visit",
             keys=["customer_id", "during"], grows="n", options="kafka.grace = '5 minutes'"),
        View("latest", "SELECT DISTINCT ON (customer_id) customer_id, order_id, created_at FROM orders ORDER BY customer_id, created_at DESC",
             "SELECT DISTINCT ON (customer_id) customer_id, order_id, created_at FROM truth.orders ORDER BY customer_id, created_at DESC",
             keys=["customer_id"], grows="created_at"),
    ],
    "moves": [
        View("moves", "SELECT order_id % 100 AS account, amount, created_at AS at FROM orders UNION ALL SELECT order_id % 100, -paid, paid_at FROM payments",
             "SELECT order_id % 100, amount, created_at FROM truth.orders UNION ALL SELECT order_id % 100, -paid, paid_at FROM truth.payments"),
        View("balance", "SELECT account, count(*) AS n, sum(amount) AS total FROM moves GROUP BY account",
             "SELECT account, count(*), sum(amount) FROM (SELECT order_id % 100 AS account, amount FROM truth.orders"
             " UNION ALL SELECT order_id % 100, -paid FROM truth.payments) m GROUP BY account",
             keys=["account"], grows="n", over=True),
    ],
    "events": [
        # a division by zero is a dead letter of this view alone
        View("shares", "SELECT event_id, device, 1000 / value AS share, at FROM events WHERE kind = 'a'",
             "SELECT event_id, device, 1000 / value, at FROM truth.events WHERE kind = 'a' AND value <> 0", verify=False),
        View("passed", "SELECT event_id, kind, at FROM events WHERE kind <> 'a'",
             "SELECT event_id, kind, at FROM truth.events WHERE kind <> 'a'", stored=False),
        View("devices", "SELECT device, count(*) AS n, sum(value) AS total, min(value) AS least, max(value) AS most FROM events GROUP BY device",
             "SELECT device, count(*), sum(value), min(value), max(value) FROM truth.events GROUP BY device", keys=["device"], grows="n"),
        View("odd", "SELECT device, kind, count(*) AS n, sum(value) AS total FROM events GROUP BY device, kind HAVING sum(value) % 2 = 1",
             "SELECT device, kind, count(*), sum(value) FROM truth.events GROUP BY device, kind HAVING sum(value) % 2 = 1", keys=["device", "kind"], grows="n"),
    ],
    "named": [
        View("labelled", "SELECT event_id, one.label(value) AS label, at FROM events WHERE kind = 'b'",
             "SELECT event_id, 'label ' || value % 3, at FROM truth.events WHERE kind = 'b'"),
        View("labels", "SELECT one.label(value) AS label, count(*) AS n, sum(value) AS total FROM events GROUP BY label",
             "SELECT 'label ' || value % 3, count(*), sum(value) FROM truth.events GROUP BY 1", keys=["label"], grows="n"),
        View("ranked", "SELECT e.event_id, r.rank, e.at FROM events e JOIN one.ranks r ON r.kind = e.kind",
             "SELECT event_id, CASE kind WHEN 'a' THEN 1 ELSE 2 END, at FROM truth.events WHERE kind IN ('a', 'b')", verify=False),
    ],
    "tables": [
        View("places", "SELECT c.customer_id, r.region, c.version + r.version AS n FROM customers c JOIN regions r ON r.region_id = c.region_id",
             "SELECT c.customer_id, r.region, c.version + r.version FROM truth.customers c JOIN truth.regions r ON r.region_id = c.region_id",
             keys=["customer_id"], grows="n"),
        View("people", "SELECT region_id, count(*) AS customers, sum(version) AS n FROM customers GROUP BY region_id",
             "SELECT region_id, count(*), sum(version) FROM truth.customers GROUP BY region_id", keys=["region_id"], grows="n"),
    ],
}

VIEWS = {view.name: view for views in PIPELINES.values() for view in views}
# pairs that are the same in every snapshot, because one batch writes both: a view over views and its query
SAME_IN_A_SNAPSHOT = [
    ("names", "TABLE names", "SELECT name, count(*), sum(amount) FROM paid GROUP BY name"),
    ("balance", "TABLE balance", "SELECT account, count(*), sum(amount) FROM moves GROUP BY account"),
]

# the records of the topics, as the oracles read them; of a table the last one of each key
TRUTH = {
    "orders": "(v->>'order_id')::bigint AS order_id, (v->>'customer_id')::int AS customer_id, (v->>'amount')::numeric AS amount,"
              " (v->>'created_at')::timestamptz AS created_at, v ? 'last' AS last",
    "payments": "(v->>'payment_id')::bigint AS payment_id, (v->>'order_id')::bigint AS order_id, (v->>'paid')::numeric AS paid, (v->>'paid_at')::timestamptz AS paid_at",
    "events": "(v->>'event_id')::bigint AS event_id, (v->>'device')::int AS device, v->>'kind' AS kind, (v->>'value')::int AS value, (v->>'at')::timestamptz AS at",
    "customers": "key::int AS customer_id, v->>'name' AS name, (v->>'region_id')::int AS region_id, (v->>'version')::bigint AS version",
    "regions": "key::int AS region_id, v->>'region' AS region, (v->>'version')::bigint AS version",
}
TABLES = {"customers", "regions"}


def create_statements():
    """The transactions that make the views and their sinks, a pipeline each."""
    for pipeline, views in PIPELINES.items():
        statements = []
        for view in views:
            options = ", ".join(filter(None, ["kafka.continuous", "" if view.over else f"kafka.pipeline = '{pipeline}'", view.options]))
            kind = "MATERIALIZED VIEW" if view.stored else "VIEW"
            statements.append(f"CREATE {kind} {view.name} WITH ({options}) AS {view.query}")
            statements.append(f"SELECT kafka.create_sink('{view.name}', '{view.name}_sink')")
        yield ";\n".join(statements)
