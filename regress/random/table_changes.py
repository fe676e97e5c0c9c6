"""A stream row meets the newest table row consumed, and later changes of the table do not revise it (DESIGN.md 2.4).

Orders and customers are produced in turns, with kafka.wait_for_view between them, so the table as each order meets it is
known: after each turn of orders the view's query over the topics as they stand gives the rows of that turn, and they must stay
so. A last turn produces both at once: then each order appears exactly once, with a name its customer had at some time.
"""
import sys

sys.dont_write_bytecode = True
sys.path.insert(0, __file__.rsplit("/", 1)[0] + "/support")
from harness import Database, Failed, compare, main, produce, wait_for_view
import shop

QUERIES = {
    "left_join": "SELECT o.order_id, o.customer_id, c.name, c.tier, o.created_at FROM orders o LEFT JOIN customers c ON c.customer_id = o.customer_id",
    "inner_join": "SELECT o.order_id, o.customer_id, c.name, c.tier, o.created_at FROM orders o JOIN customers c ON c.customer_id = o.customer_id",
    "table_join": "SELECT o.order_id, o.customer_id, v.vip FROM orders o JOIN vips v ON v.customer_id = o.customer_id WHERE o.state <> 'CANCELLED'",
}
CUSTOMERS = 6


def play_round(rng, number):
    database = Database(f"changes_{number}")
    database.run(f"ALTER SYSTEM SET kafka.batch_rows = {rng.choice([4, 100000])}")
    database.run("SELECT pg_reload_conf()")
    partitions = shop.create_topics(database, rng)
    database.run("CREATE TABLE vips (customer_id int, vip boolean)")

    had = set()    # names that customers had at some time; the topic forgets them when it is compacted

    def change_tables():
        changes = shop.customer_records(rng, CUSTOMERS, partitions["customers"], 5)
        had.update((key, value["name"]) for _, _, key, value in changes if value)
        produce(shop.topic_name(database, "customers"), changes)
        database.run(f"DELETE FROM vips WHERE customer_id = {rng.randrange(CUSTOMERS)};"
                     f"INSERT INTO vips VALUES ({rng.randrange(CUSTOMERS)}, {rng.choice(['true', 'false', 'NULL'])})")

    change_tables()
    for view, query in QUERIES.items():
        database.run(f"CREATE MATERIALIZED VIEW {view} WITH (kafka.continuous) AS {query};"
                     f"CREATE TABLE must_be_{view} AS {query} LIMIT 0")
    produced = 0

    def produce_orders(count):
        nonlocal produced
        first, produced = produced, produced + count
        records = [shop.order(rng, n, (1_600_000_000 + n) * shop.US, CUSTOMERS) for n in range(first, produced)]
        produce(shop.topic_name(database, "orders"),
                [(rng.randrange(partitions["orders"]), at_us // 1000, key, value) for _, at_us, key, value in records])
        return first

    for _ in range(5):
        first = produce_orders(rng.randrange(1, 30))
        for view, query in QUERIES.items():
            wait_for_view(database, view)
            database.run(f"INSERT INTO must_be_{view} SELECT * FROM ({query}) q WHERE order_id >= {first}")
            compare(database, view, f"TABLE {view}", f"TABLE must_be_{view}")
        change_tables()
        for view in ("left_join", "inner_join"):
            wait_for_view(database, view)
            compare(database, f"{view} after a change of customers", f"TABLE {view}", f"TABLE must_be_{view}")

    first = produce_orders(20)
    change_tables()
    produce_orders(20)
    wait_for_view(database, "left_join")
    compare(database, "left_join: every order once", f"SELECT order_id, customer_id FROM left_join WHERE order_id >= {first}",
            f"SELECT order_id, customer_id FROM orders WHERE order_id >= {first}")
    never = [row for row in database.run("SELECT DISTINCT customer_id, name FROM left_join WHERE name IS NOT NULL") if tuple(row) not in had]
    if never:
        raise Failed(f"left_join: names that the customer never had: {never}")
    database.drop()
    return f"{produced} orders"


main(play_round, 15)
