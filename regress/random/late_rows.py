"""Rows that come too late are left out, all others are not, and kafka.views counts the former exactly.

Topics of one partition make lateness exactly determined (DESIGN.md 2.4): a row is late when its time + what its partners may
lie after it + grace is at or before its partition's stream time before it, that is the greatest time at a lower offset; the
frontier is never beyond that. The oracle computes it with a window function over the topic, and the view must equal its query
over the rows that are left, whatever the sizes of the batches and however the two topics interleave.
"""
import sys

sys.dont_write_bytecode = True
sys.path.insert(0, __file__.rsplit("/", 1)[0] + "/support")
from harness import Database, Failed, compare, engine_state, kv_kafka, main, produce, wait_for_view

US = 1_000_000


def stream(rng, rows, step_s, jitter_s):
    """Times in seconds, mostly in order, some far behind."""
    return [n * step_s + (-rng.randrange(1, 8 * jitter_s) if rng.random() < 0.15 else -rng.randrange(0, jitter_s)) for n in range(rows)]


def in_time(topic, time, number, after_s, grace_s):
    """A query for the rows of a topic that are not late; after_s: how long after it a partner may come."""
    return (f"(SELECT * FROM (SELECT *, max({time}) OVER (ORDER BY {number} ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) AS before"
            f" FROM {topic}) t WHERE before IS NULL OR {time} + interval '{after_s + grace_s} seconds' > before)")


def play_round(rng, number):
    database = Database(f"late_{number}")
    database.run(f"ALTER SYSTEM SET kafka.batch_rows = {rng.choice([5, 60, 100000])}")
    database.run("SELECT pg_reload_conf()")
    before_s, after_s, grace_s = rng.choice([0, 7]), rng.choice([10, 30]), rng.choice([1, 5, 20])
    for name, columns in (("lefts", "k int, seen_at timestamptz"), ("rights", "k int, done_at timestamptz")):
        kv_kafka("create", f"{database.topics}_{name}", "1", "retention.ms=-1")
        database.run(f"CREATE FOREIGN TABLE {name} (n bigint OPTIONS (metadata 'offset'), {columns}) SERVER {database.schema}"
                     f" OPTIONS (topic '{database.topics}_{name}', event_time '{columns.split()[2]}')")
    condition = f"r.k = l.k AND r.done_at >= l.seen_at - interval '{before_s} seconds' AND r.done_at <= l.seen_at + interval '{after_s} seconds'"
    create = (f"CREATE MATERIALIZED VIEW pairs WITH (kafka.continuous, kafka.grace = '{grace_s} seconds') AS"
              f" SELECT l.n AS left_n, r.n AS right_n, l.k, r.done_at FROM lefts l JOIN rights r ON {condition}")

    rows, begin_s = rng.choice([50, 300]), 1_600_000_000
    records = {"lefts": [], "rights": []}
    for name, field in (("lefts", "seen_at"), ("rights", "done_at")):
        for seconds in stream(rng, rows, 2, rng.choice([5, 25])):
            at = begin_s + seconds
            records[name].append((0, at * 1000, None, {"k": rng.randrange(8), field: at * 1000}))
    created = False
    while records["lefts"] or records["rights"]:
        if not created and rng.random() < 0.5:
            created = True
            database.run(create)
        name = rng.choice([name for name in records if records[name]])
        size = rng.randrange(1, rows)
        produce(f"{database.topics}_{name}", records[name][:size])
        records[name] = records[name][size:]
        if created and rng.random() < 0.2:
            wait_for_view(database, "pairs")
    if not created:
        database.run(create)
    wait_for_view(database, "pairs")

    lefts, rights = in_time("lefts", "seen_at", "n", after_s, grace_s), in_time("rights", "done_at", "n", before_s, grace_s)
    compare(database, f"pairs (before {before_s} s, after {after_s} s, grace {grace_s} s)", "SELECT * FROM pairs",
            f"SELECT l.n, r.n, l.k, r.done_at FROM {lefts} l JOIN {rights} r ON {condition}")
    late = database.value("SELECT late_rows FROM kafka_state.view")
    must_be = database.value(f"SELECT 2 * {rows} - (SELECT count(*) FROM {lefts} l) - (SELECT count(*) FROM {rights} r)")
    if late != must_be:
        raise Failed(f"{late} late rows, must be {must_be} (before {before_s} s, after {after_s} s, grace {grace_s} s)\n{engine_state(database)}")
    pairs = database.value("SELECT count(*) FROM pairs")
    database.drop()
    return f"{2 * rows} rows, {late} late, {pairs} pairs"


main(play_round, 15)
