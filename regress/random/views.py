"""Random streams through every shape of view, compared with the views' own queries.

Each round makes topics of 1 to 3 partitions and plays orders, payments, shipments and customers into them, out of order
within and between topics, in chunks of random size, some before the views exist and most while they run. Then every view must
equal its defining query over the topics read as foreign tables (EXCEPT ALL both ways), kafka.verify must find nothing, and
each sink, folded as a consumer would, must equal its view. Outer joins of streams equal theirs when a last record in every
partition has closed all others; before, kafka.verify must know what is open.

Why nothing is late: the views' grace is just above the disorder that was made, so eviction works as tightly as it may, and a
row lost to it is a bug. Customers and regions do not change while streams flow, so joins with them are determined;
table_changes.py has the other case, late_rows.py the late ones.
"""
import sys

sys.dont_write_bytecode = True
sys.path.insert(0, __file__.rsplit("/", 1)[0] + "/support")
from harness import Database, Failed, compare, compare_sink, kv_kafka, main, no_losses, produce, verify, wait_for_view
import shop

PAID_SOON = "payments p ON p.order_id = o.order_id AND p.paid_at BETWEEN o.created_at AND o.created_at + interval '20 seconds'"
APPEND = {
    "project": "SELECT order_id, lower(state) AS state, amount * 2 AS doubled, region, created_at FROM orders"
               " WHERE amount > 20 AND state <> 'CANCELLED'",
    "join_between": f"SELECT o.order_id, o.amount, p.payment_id, p.paid, p.paid_at FROM orders o JOIN {PAID_SOON}",
    "join_compare": "SELECT o.order_id, p.payment_id, p.paid, o.region, o.created_at FROM orders o, payments p"
                    " WHERE o.order_id = p.order_id AND o.region = p.region AND p.paid_at >= o.created_at - interval '5 seconds'"
                    " AND p.paid_at < o.created_at + interval '15 seconds' AND o.amount <> p.paid",
    "join_three": f"SELECT o.order_id, p.payment_id, s.shipment_id, s.carrier, p.paid_at FROM orders o JOIN {PAID_SOON} JOIN shipments s"
                  " ON s.order_id = o.order_id AND s.shipped_at > p.paid_at AND s.shipped_at <= p.paid_at + interval '15 seconds'",
    "join_self": "SELECT a.order_id AS one, b.order_id AS other, b.created_at FROM orders a JOIN orders b"
                 " ON b.customer_id = a.customer_id AND b.created_at > a.created_at AND b.created_at <= a.created_at + interval '8 seconds'",
    "enrich": "SELECT o.order_id, c.name, c.tier, o.created_at FROM orders o JOIN customers c ON c.customer_id = o.customer_id",
    "enrich_left": "SELECT o.order_id, c.name, o.created_at FROM orders o LEFT JOIN customers c ON c.customer_id = o.customer_id",
    "enrich_join": f"SELECT p.payment_id, o.order_id, c.name, p.paid_at FROM orders o JOIN {PAID_SOON}"
                   " LEFT JOIN customers c ON c.customer_id = o.customer_id",
    "enrich_table": "SELECT o.order_id, r.country, o.created_at FROM orders o JOIN regions r ON r.region = o.region AND o.amount > r.least",
}
KEYED = {
    "per_customer": "SELECT customer_id, count(*) AS orders, sum(amount) AS total FROM orders GROUP BY customer_id",
    "least_greatest": "SELECT region, state, min(amount) AS least, max(created_at) AS last_at, bool_or(amount > 90) AS any_large"
                      " FROM orders GROUP BY region, state",
    "having_sum": "SELECT region, state, count(*) AS orders, avg(amount) AS mean, sum(amount) FILTER (WHERE amount > 50) AS large"
              " FROM orders GROUP BY region, state HAVING sum(amount) BETWEEN 100 AND 1500",
    "expression": "SELECT customer_id % 3 AS third, coalesce(region, '-') AS place, count(region) AS known, max(amount) - min(amount) AS spread"
                  " FROM orders WHERE state <> 'CANCELLED' GROUP BY customer_id % 3, coalesce(region, '-')",
    "everything": "SELECT count(*) AS orders, sum(amount) AS total, avg(customer_id) AS mean FROM orders",
    "tumbled": "SELECT kafka.tumble(created_at, '30 seconds') AS during, count(*) AS orders, avg(amount) AS mean FROM orders GROUP BY 1",
    "hopped": "SELECT during, region, count(*) AS payments, sum(paid) AS total FROM payments"
              " CROSS JOIN LATERAL kafka.hop(paid_at, '1 minute', '25 seconds') AS during GROUP BY during, region",
    "binned": "SELECT date_bin('40 seconds', shipped_at, '2000-01-01') AS bin, carrier, count(*) AS shipments FROM shipments GROUP BY 1, 2",
    "truncated": "SELECT date_trunc('minute', created_at) AS minute, sum(amount) AS total, min(order_id) AS first FROM orders GROUP BY 1",
    "join_totals": "SELECT o.region, count(*) AS payments, sum(p.paid) AS total, min(p.paid - o.amount) AS least"
                   f" FROM orders o JOIN {PAID_SOON} GROUP BY o.region",
    "join_windows": f"SELECT kafka.tumble(p.paid_at, '50 seconds') AS during, count(*) AS payments FROM orders o JOIN {PAID_SOON} GROUP BY 1",
}
# of streams; {orders} and {payments} are the topics, or what is in them besides the last records
OUTER = {
    "left_paid": "SELECT o.order_id, p.payment_id, p.paid, o.created_at FROM {orders} o LEFT JOIN {payments} p"
                 " ON p.order_id = o.order_id AND p.paid_at BETWEEN o.created_at AND o.created_at + interval '20 seconds' AND o.amount > 20",
    "right_paid": "SELECT p.payment_id, o.order_id, o.amount, p.paid_at FROM {orders} o RIGHT JOIN {payments} p"
                  " ON p.order_id = o.order_id AND p.region = o.region AND p.paid_at >= o.created_at - interval '5 seconds'"
                  " AND p.paid_at < o.created_at + interval '15 seconds'",
    "full_paid": "SELECT o.order_id, p.payment_id, coalesce(o.region, p.region) AS place FROM {orders} o FULL JOIN {payments} p"
                 " ON p.order_id = o.order_id AND p.paid_at BETWEEN o.created_at - interval '5 seconds' AND o.created_at + interval '15 seconds'"
                 " AND o.amount <> p.paid WHERE coalesce(o.amount, p.paid) > 10",
    "unpaid": "SELECT o.order_id, o.created_at FROM {orders} o LEFT JOIN {payments} p"
              " ON p.order_id = o.order_id AND p.paid_at BETWEEN o.created_at AND o.created_at + interval '20 seconds' WHERE p.payment_id IS NULL",
    "full_totals": "SELECT coalesce(o.region, p.region, '-') AS place, count(*) AS n, count(o.order_id) AS orders, sum(p.paid) AS paid"
                   " FROM {orders} o FULL JOIN {payments} p"
                   " ON p.order_id = o.order_id AND p.paid_at BETWEEN o.created_at AND o.created_at + interval '20 seconds' GROUP BY 1",
    "left_named": "SELECT o.order_id, p.payment_id, c.name FROM {orders} o LEFT JOIN customers c ON c.customer_id = o.customer_id LEFT JOIN {payments} p"
                  " ON p.order_id = o.order_id AND p.paid_at BETWEEN o.created_at AND o.created_at + interval '20 seconds'",
}
LAST_ID = -1000
OVER_VIEWS = {    # name: (the view it reads, the query)
    "over_join": ("join_between", "SELECT order_id, paid * 2 AS doubled, paid_at FROM join_between WHERE amount > 10"),
    "over_project": ("project", "SELECT region, count(*) AS orders, sum(doubled) AS total FROM project GROUP BY region"),
    "over_windows": ("join_between", "SELECT kafka.tumble(paid_at, '1 minute') AS during, avg(paid) AS mean FROM join_between GROUP BY 1"),
}
SINK_KEYS = {"least_greatest": ["region", "state"], "having_sum": ["region", "state"], "expression": ["third", "place"], "tumbled": ["during"],
             "hopped": ["during", "region"], "binned": ["bin", "carrier"], "truncated": ["minute"], "join_windows": ["during"],
             "over_windows": ["during"], "full_totals": ["place"]}
EVENT_TIME = {"join_between": "paid_at", "project": "created_at"}
# where a row can be late: joins of streams and windows
TAKES_GRACE = {"join_between", "join_compare", "join_three", "join_self", "enrich_join", "tumbled", "hopped", "binned", "truncated",
               "join_totals", "join_windows", "over_windows", *OUTER}
LOOKS_UP = {"enrich", "enrich_left", "enrich_join", "enrich_table", "left_named"}


def choose_views(rng):
    """Names and queries of a round's views; one that others read comes before them."""
    chosen = rng.sample(sorted(APPEND), 3) + rng.sample(sorted(KEYED), 3)
    queries = {name: {**APPEND, **KEYED}[name] for name in chosen}
    over = rng.choice(sorted(OVER_VIEWS))
    below, query = OVER_VIEWS[over]
    queries.setdefault(below, APPEND[below])
    queries[over] = query
    for name in rng.sample(sorted(OUTER), 2):
        queries[name] = OUTER[name].format(orders="orders", payments="payments")
    return queries


def grace_us(chunks):
    """What makes nothing late: more than the farthest any record lies behind one produced before or along with it."""
    greatest, needed = None, 0
    for chunk in chunks:
        times = [record[1] for record in chunk]
        greatest = max(times) if greatest is None else max(greatest, *times)
        needed = max(needed, greatest - min(times))
    return needed + 1


def cut(rng, records, jitter_us):
    """The records in order of a disturbed arrival, in chunks."""
    arrived = sorted(records, key=lambda record: record[1] + rng.randrange(jitter_us))
    chunks, at, pieces = [], 0, rng.choice([3, 12])
    while at < len(arrived):
        size = rng.randrange(1, 2 + len(arrived) // pieces)
        chunks.append(arrived[at:at + size])
        at += size
    return chunks


def produce_chunk(rng, database, partitions, chunk):
    """Produces a chunk topic by topic, in random order of topics; each record to a random partition."""
    for name in rng.sample(shop.STREAMS, len(shop.STREAMS)):
        records = []
        for topic, at_us, key, value in chunk:
            if topic == name:
                ms = at_us // 1000 + rng.randrange(2000)
                if rng.random() < 0.02:
                    records.append((rng.randrange(partitions[name]), max(ms, 0), key, None))
                records.append((rng.randrange(partitions[name]), ms if ms > 0 else None, key, value))
        produce(shop.topic_name(database, name), records)


def primer(rng, partitions, begin_us):
    """A record for every partition of every stream, older than all others, so that each holds time back from the start."""
    for name, count in partitions.items():
        for partition in range(count if name in shop.STREAMS else 0):
            made = shop.order(rng, -1 - partition, begin_us, 5)
            if name != "orders":
                made = (shop.payment if name == "payments" else shop.shipment)(rng, -1 - partition, made[3], begin_us)
            yield name, (partition, max(begin_us // 1000, 0), made[2], made[3])


def close_all(rng, database, partitions, end_us):
    """The last record of every partition, later than all bounds and grace."""
    for name in ("orders", "payments"):
        records = []
        for partition in range(partitions[name]):
            made = shop.order(rng, LAST_ID - partition, end_us, 5)
            if name == "payments":
                made = shop.payment(rng, LAST_ID - partition, {"order_id": None}, end_us)
            records.append((partition, end_us // 1000 if end_us > 0 else None, made[2], made[3]))
        produce(shop.topic_name(database, name), records)


def sink_statements(rng, database, view, query, topic):
    """A sink and what feeds it: (statements before CREATE, statements after it in its transaction, statements later)."""
    keys, columns = SINK_KEYS.get(view), database.columns(query)
    keyed = keys is not None
    listed = ", ".join(f"{name} {kind}" + (" OPTIONS (key 'true')" if keyed and name in keys else "") for name, kind in columns)
    before = (f"CREATE FOREIGN TABLE {view}_sink ({listed}) SERVER {database.schema}"
              f" OPTIONS (topic '{topic}'{', mode ' + chr(39) + 'upsert' + chr(39) if keyed else ''});")
    execute = f"EXECUTE FUNCTION kafka.publish('{view}_sink');"
    kind = rng.choice(["statement", "row", "attach"])
    if kind == "attach":
        return before, "", f"SELECT kafka.attach_sink('{view}', '{view}_sink')"
    if kind == "row":
        return before, f"CREATE TRIGGER publish AFTER INSERT OR UPDATE OR DELETE ON {view} FOR EACH ROW {execute}", ""
    tables = {"INSERT": "NEW TABLE AS new", "UPDATE": "OLD TABLE AS old NEW TABLE AS new", "DELETE": "OLD TABLE AS old"}
    return before, "\n".join(f"CREATE TRIGGER publish_{event} AFTER {event} ON {view} REFERENCING {names} FOR EACH STATEMENT {execute}"
                             for event, names in tables.items() if keyed or event == "INSERT"), ""


class Round:
    """One round's database and views, and when which of them is created."""

    def __init__(self, rng, number):
        self.rng = rng
        self.database = Database(f"views_{number}", rng.choice(["UTC", "Europe/Berlin", "Asia/Kolkata"]))
        self.queries = choose_views(rng)
        self.sinks, self.later, self.created, self.closed = {}, [], [], False

    def create(self, names, grace, pipeline):
        """Creates views in one transaction, some with a sink."""
        script = []
        for view in names:
            query, after = self.queries[view], ""
            options = ["kafka.continuous"]
            options += [f"kafka.grace = '{grace} microseconds'"] if view in TAKES_GRACE else []
            options += [f"kafka.event_time = '{EVENT_TIME[view]}'"] if view in EVENT_TIME else []
            options += [f"kafka.pipeline = '{pipeline}'"] if pipeline and view not in OVER_VIEWS else []
            if (view in APPEND or view in OUTER or view == "over_join" or view in SINK_KEYS) and self.rng.random() < 0.6 and (view not in OVER_VIEWS or len(names) == 1):
                topic = self.sinks[view] = f"{self.database.topics}_{view}_sink"
                kv_kafka("create", topic, str(self.rng.choice([1, 2])), "retention.ms=-1")
                before, after, later = sink_statements(self.rng, self.database, view, query, topic)
                script.append(before)
                self.later += [later] if later else []
            script.append(f"CREATE MATERIALIZED VIEW {view} WITH ({', '.join(options)}) AS {query};\n{after}")
        self.database.run("BEGIN;\n" + "\n".join(script) + "\nCOMMIT")
        self.created += names

    def create_some(self, left, grace):
        """Creates the next views of those left: one, or several that share a pipeline or do not."""
        count = self.rng.randrange(1, len(left) + 1)
        names, rest = left[:count], left[count:]
        self.create(names, grace, f"{self.database.schema}_p{len(rest)}" if self.rng.random() < 0.5 else None)
        return rest

    def check(self, view):
        columns = self.database.columns(self.queries[view])
        query = self.queries[view]
        if view in OUTER:
            query = OUTER[view].format(orders=f"(SELECT * FROM orders WHERE order_id > {LAST_ID})", payments=f"(SELECT * FROM payments WHERE payment_id > {LAST_ID})")
        if self.closed or view not in OUTER:
            compare(self.database, view, f"SELECT {', '.join(name for name, _ in columns)} FROM {view}", query)
        if view not in LOOKS_UP:
            verify(self.database, view)
        no_losses(self.database, view)


def play_round(rng, number):
    batch_rows = rng.choice([3, 20, 300, 100000])
    this = Round(rng, number)
    database = this.database
    database.run(f"ALTER SYSTEM SET kafka.batch_rows = {batch_rows}")
    database.run("SELECT pg_reload_conf()")
    partitions = shop.create_topics(database, rng)
    begin_us = rng.choice([-3_600, 1_711_846_500, 1_500_000_000]) * shop.US    # over 1970, over a change of the clocks, none of both
    records = shop.events(rng, rng.choice([60, 150, 300]) if batch_rows > 3 else 40, begin_us, rng.choice([1, 4]) * shop.US, 12)
    chunks = cut(rng, records, rng.choice([1, 30]) * shop.US)
    grace = grace_us(chunks)
    produce(shop.topic_name(database, "customers"), shop.customer_records(rng, 12, partitions["customers"], 40))
    for region, country, least in (("north", "N", 1), ("south", "S", 20), ("south", None, 5), (shop.REGIONS[3], "W", -99)):
        database.run(f"INSERT INTO regions VALUES ($r${region}$r$, {'NULL' if country is None else repr(country)}, {least})")
    for name, record in primer(rng, partitions, begin_us - 10 * shop.US):
        produce(shop.topic_name(database, name), [record])

    left = list(this.queries)
    for chunk in chunks:
        if left and rng.random() < 0.5:
            left = this.create_some(left, grace)
        produce_chunk(rng, database, partitions, chunk)
        if this.created and rng.random() < 0.15:
            view = rng.choice(this.created)
            wait_for_view(database, view)
            this.check(view)
        if this.later and rng.random() < 0.4:
            database.run(this.later.pop())
    while left:
        left = this.create_some(left, grace)
    for statement in this.later:
        database.run(statement)
    close_all(rng, database, partitions, records[-1][1] + 10**9)
    this.closed = True
    for view in this.queries:
        wait_for_view(database, view)
    for view, query in this.queries.items():
        this.check(view)
        if view in this.sinks:
            compare_sink(database, view, this.sinks[view], database.columns(query), view in SINK_KEYS)
    rows = sum(int(database.value(f"SELECT count(*) FROM {view}")) for view in this.queries)
    if rows == 0:
        raise Failed("no view has a row")
    database.drop()
    return f"{len(records)} records in {len(chunks)} chunks, batch_rows {batch_rows}, {', '.join(this.queries)}: {rows} rows, {len(this.sinks)} sinks"


main(play_round, 75)
