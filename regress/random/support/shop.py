"""The topics of the randomised tests: orders, payments, shipments, customers; and an ordinary table, regions.

A record is (topic, event time in us since 1970, key, value): values are random within small domains, so that joins meet and
groups fill, and now and then odd: absent fields, unknown ones, numbers as text, times as ISO text, null values.
"""
from datetime import datetime, timedelta, timezone

from harness import kv_kafka

REGIONS = ["north", "south", "\u00f6st", "we\\st\t\"1\""]
STATES = ["CREATED", "PAID", "CANCELLED"]
US = 1_000_000
STREAMS = ["orders", "payments", "shipments"]


def create_topics(database, rng):
    """Makes the topics and their foreign tables; gives the number of partitions by topic."""
    partitions = {name: rng.choice([1, 1, 2, 3]) for name in STREAMS + ["customers"]}
    for name, count in partitions.items():
        kv_kafka("create", topic_name(database, name), str(count), "retention.ms=-1", "cleanup.policy=" + ("compact" if name == "customers" else "delete"))
    options = {name: f"SERVER {database.schema} OPTIONS (topic '{topic_name(database, name)}'" for name in partitions}
    database.run(f"""
        CREATE FOREIGN TABLE orders (order_id bigint, customer_id int, region text, amount numeric(12,2), state text, created_at timestamptz)
            {options['orders']}, event_time 'created_at');
        CREATE FOREIGN TABLE payments (payment_id bigint, order_id bigint, region text, paid numeric(12,2), paid_at timestamptz)
            {options['payments']}, event_time 'paid_at');
        CREATE FOREIGN TABLE shipments (shipment_id text OPTIONS (key 'true'), order_id bigint, carrier text, shipped_at timestamptz
            {rng.choice(['', "OPTIONS (path 'times.shipped')"])}) {options['shipments']}, event_time 'shipped_at');
        CREATE FOREIGN TABLE customers (customer_id int OPTIONS (key 'true'), name text, tier int) {options['customers']}, mode 'upsert');
        CREATE TABLE regions (region text, country text, least numeric)""")
    return partitions


def topic_name(database, name):
    return f"{database.topics}_{name}"


def time_value(rng, at_us):
    """An event time as a producer may write it: epoch milliseconds where they suffice, or ISO 8601 in some zone."""
    if at_us % 1000 == 0 and rng.random() < 0.5:
        return at_us // 1000
    zone = timezone(timedelta(minutes=rng.choice([0, 0, 120, -330])))
    return (datetime(1970, 1, 1, tzinfo=timezone.utc) + timedelta(microseconds=at_us)).astimezone(zone).isoformat()


def amount(rng):
    value = rng.choice([rng.randrange(-500, 12000), rng.randrange(100) * 100]) / 100
    return f"{value:.2f}" if rng.random() < 0.2 else value


def order(rng, number, at_us, customers):
    value = {"order_id": number, "customer_id": rng.randrange(customers), "region": rng.choice(REGIONS), "amount": amount(rng),
             "state": rng.choice(STATES), "created_at": time_value(rng, at_us), "note": {"nobody": ["maps", "this", None]}}
    for field in ("customer_id", "region", "amount", "state"):
        if rng.random() < 0.03:
            value.pop(field) if rng.random() < 0.5 else value.update({field: None})
    return "orders", at_us, str(value.get("customer_id")), value


def payment(rng, number, of_order, at_us):
    region = of_order.get("region") if rng.random() < 0.7 else rng.choice(REGIONS)
    value = {"payment_id": number, "order_id": of_order["order_id"], "region": region, "paid": amount(rng), "paid_at": time_value(rng, at_us)}
    return "payments", at_us, None, value


def shipment(rng, number, of_order, at_us):
    at = time_value(rng, at_us)
    value = {"order_id": of_order["order_id"], "carrier": rng.choice(["sea", "air", None]), "shipped_at": at, "times": {"shipped": at}}
    return "shipments", at_us, f"s{number}", value


def rounded(rng, at_us):
    return at_us if rng.random() < 0.3 else at_us // 1000 * 1000


def events(rng, orders, begin_us, step_us, customers):
    """Orders, some paid (once, twice, too early, too late), some shipped; in order of event time."""
    made = []
    for number in range(orders):
        at = rounded(rng, begin_us + number * step_us + rng.randrange(step_us))
        record = order(rng, number, at, customers)
        made.append(record)
        for _ in range(rng.choice([0, 1, 1, 1, 2])):
            paid_at = at + (rng.choice([0, 15, 20, -5]) * US if rng.random() < 0.2 else rng.randrange(-8 * US, 28 * US))
            made.append(payment(rng, len(made), record[3], paid_at if rng.random() < 0.2 else rounded(rng, paid_at)))
            if rng.random() < 0.6:
                made.append(shipment(rng, len(made), record[3], rounded(rng, paid_at + rng.randrange(-3 * US, 20 * US))))
    made.sort(key=lambda record: record[1])
    return made


def customer_records(rng, customers, partitions, changes):
    """Upserts and tombstones of customers: (partition, ms, key, value); a key stays in its partition."""
    records = []
    for _ in range(changes):
        number = rng.randrange(customers)
        value = None if rng.random() < 0.15 else {"name": f"c{number} {rng.randrange(1000)}", "tier": rng.choice([1, 2, None])}
        records.append((number % partitions, rng.randrange(1_600_000_000_000, 1_700_000_000_000), str(number), value))
    return records
