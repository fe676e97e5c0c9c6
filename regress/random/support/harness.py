"""What the randomised tests share: psql, kv_kafka, rounds with a printed seed, and the oracles.

Why it exists: each test in ../ states its data and its views; how a statement is run, a view waited for and compared, a sink
folded, is the same for all of them. Only the standard library, psql and kv_kafka are used.
Invariant: every failure names the seed, the round and the view, so that SEED=... ROUND=... repeats it.
"""
import json
import os
import random
import subprocess
import sys
import time

WAIT = "60 seconds"
SEPARATOR = "\x1f"


class Failed(Exception):
    """A difference between what is and what must be; its text says where."""


class Database:
    """A schema of its own in $PGDATABASE, with a server called s; statements run in it, under a time zone."""

    def __init__(self, schema, time_zone="UTC"):
        self.schema = schema
        self.topics = f"{schema}_{os.getpid()}"    # what the names of its topics begin with
        self.options = f"-c search_path={schema},public -c timezone={time_zone} -c client_min_messages=warning -c statement_timeout=120s"
        self.run(f"CREATE SCHEMA {schema}")
        self.run(f"CREATE SERVER {schema} FOREIGN DATA WRAPPER kafka OPTIONS (bootstrap_servers '{os.environ['KAFKA_BROKER']}')")

    def run(self, script):
        """Runs statements one after the other (BEGIN and COMMIT as written) and gives the rows as lists of text."""
        done = subprocess.run(
            ["psql", "-X", "-q", "-A", "-t", "-F", SEPARATOR, "-v", "ON_ERROR_STOP=1", "-f", "-"],
            input=script + ";\n", capture_output=True, text=True, env={**os.environ, "PGOPTIONS": self.options})
        if done.returncode != 0:
            raise Failed(f"{done.stderr.strip()}\nstatement: {script}")
        return [line.split(SEPARATOR) for line in done.stdout.splitlines() if line]

    def value(self, query):
        rows = self.run(query)
        return rows[0][0] if rows else None

    def columns(self, query):
        """Names and types of a query's columns."""
        return self.run(
            f"BEGIN; CREATE VIEW columns_of_it AS {query};\n"
            "SELECT attname, format_type(atttypid, atttypmod) FROM pg_attribute"
            " WHERE attrelid = 'columns_of_it'::regclass AND attnum > 0 ORDER BY attnum; ROLLBACK")

    def drop(self):
        """Drops all of it, which must leave no trace in the engine's catalog."""
        self.run(f"DROP SCHEMA {self.schema} CASCADE; DROP SERVER {self.schema} CASCADE")
        left = self.value("SELECT count(*) FROM kafka_state.view")
        if left != "0":
            raise Failed(f"{left} rows left in kafka_state.view after DROP SCHEMA CASCADE")


def kv_kafka(*arguments, lines=None):
    done = subprocess.run(["kv_kafka", *arguments], input=lines, capture_output=True, text=True, env=os.environ)
    if done.returncode != 0:
        raise Failed(f"kv_kafka {' '.join(arguments)}: {done.stderr.strip()}")
    return done.stdout


def escaped(text):
    """Text as COPY writes it; None is a null."""
    if text is None:
        return "\\N"
    return text.replace("\\", "\\\\").replace("\t", "\\t").replace("\n", "\\n").replace("\r", "\\r")


def produce(topic, records):
    """Produces records (partition, milliseconds or None, key, value); a value that is not text is written as JSON, a key may be bytes."""
    in_hex = any(isinstance(key, bytes) for _, _, key, _ in records)
    write = hexadecimal if in_hex else escaped
    lines = []
    for partition, at_ms, key, value in records:
        if value is not None and not isinstance(value, str):
            value = json.dumps(value)
        lines.append("\t".join([str(partition), "\\N" if at_ms is None else str(at_ms), write(key), write(value)]))
    if lines:
        kv_kafka("produce", topic, "--hex" if in_hex else "--copy", "--full", lines="\n".join(lines) + "\n")


def hexadecimal(value):
    """Bytes or text as kv_kafka --hex takes them; None is a null."""
    if value is None:
        return "\\N"
    return (value if isinstance(value, bytes) else value.encode()).hex()


def wait_for_view(database, view):
    if database.value(f"SELECT kafka.wait_for_view('{view}', '{WAIT}')") != "t":
        raise Failed(f"{view}: not caught up after {WAIT}\n{engine_state(database)}")


def engine_state(database):
    """What the engine says of itself, for the text of a failure."""
    text = []
    for what in ("kafka.pipelines", "kafka.lag", "kafka_state.position", "kafka_state.view",
                 "(SELECT relation, view, partition, record_offset, sqlstate, message, detail FROM kafka_state.dead_letter LIMIT 5) d"):
        try:
            text.append(what + ": " + "\n    ".join(" | ".join(row) for row in database.run(f"SELECT * FROM {what}")))
        except Failed as failed:
            text.append(f"{what}: {failed}")
    return "\n".join(text)


def compare(database, what, is_query, must_be_query):
    """EXCEPT ALL both ways."""
    rows = database.run(
        f"WITH is_there AS MATERIALIZED ({is_query}), must_be AS MATERIALIZED ({must_be_query})\n"
        "(SELECT 'too much', i::text FROM (TABLE is_there EXCEPT ALL TABLE must_be) i LIMIT 10)"
        " UNION ALL (SELECT 'missing', m::text FROM (TABLE must_be EXCEPT ALL TABLE is_there) m LIMIT 10)")
    if rows:
        raise Failed(f"{what}:\n" + "\n".join("  ".join(row) for row in rows) + f"\nmust be: {must_be_query}\n{engine_state(database)}")


def verify(database, view):
    """The product's own comparison must agree."""
    rows = database.run(f"SELECT * FROM kafka.verify('{view}')")
    if rows:
        raise Failed(f"kafka.verify('{view}'):\n" + "\n".join(" | ".join(row) for row in rows[:10]))


def no_losses(database, view):
    """Nothing was late, nothing a dead letter."""
    late = database.value(f"SELECT late_rows FROM kafka_state.view WHERE relation = '{view}'::regclass")
    dead = database.value("SELECT count(*) FROM kafka_state.dead_letter")
    if (late, dead) != ("0", "0"):
        raise Failed(f"{view}: {late} late rows, {dead} dead letters where there are none\n{engine_state(database)}")


def sink_column(name, type_name):
    """A column of a sink's JSON value (v) as the view's type."""
    if type_name == "tstzrange":
        return (f"tstzrange((v->'{name}'->>'start')::timestamptz, (v->'{name}'->>'end')::timestamptz,"
                f" coalesce(v->'{name}'->>'bounds', '[)')) AS {name}")
    return f"(v->>'{name}')::{type_name} AS {name}"


def compare_sink(database, view, topic, columns, keyed):
    """Folds the sink, read by another client, and compares it with the view."""
    names = ", ".join(name for name, _ in columns)
    database.run(f"CREATE TABLE {view}_messages AS SELECT * FROM kafka_test.consume('{topic}')")
    messages = f"{view}_messages"
    if keyed:
        again = database.run(
            "SELECT key, value FROM (SELECT *, lag(value) OVER w AS before, lag(partition) OVER w AS before_partition, row_number() OVER w AS n"
            f" FROM {messages} WINDOW w AS (PARTITION BY key ORDER BY partition, \"offset\")) m"
            " WHERE n > 1 AND (value IS NOT DISTINCT FROM before OR partition <> before_partition) OR n = 1 AND value IS NULL LIMIT 5")
        if again:
            raise Failed(f"sink of {view}: a message that changes nothing, or a key in two partitions: {again}")
        last = f"(SELECT DISTINCT ON (key) value FROM {messages} ORDER BY key, \"offset\" DESC)"
    else:
        last = f"(SELECT value FROM {messages})"
    folded = ", ".join(sink_column(name, type_name) for name, type_name in columns)
    compare(database, f"sink of {view}", f"SELECT {folded} FROM (SELECT value::json AS v FROM {last} l WHERE value IS NOT NULL) m",
            f"SELECT {names} FROM {view}")
    database.run(f"DROP TABLE {messages}")


def main(play_round, seconds):
    """Plays rounds until the time is up: play_round(random generator, number)."""
    seed = int(os.environ.get("SEED") or random.SystemRandom().randrange(1 << 31))
    only = os.environ.get("ROUND")
    seconds = int(os.environ.get("SECONDS_TO_RUN") or seconds)
    print(f"SEED={seed}", flush=True)
    began, number = time.monotonic(), int(only or 1)
    while True:
        started = time.monotonic()
        try:
            said = play_round(random.Random(f"{seed}/{number}"), number)
        except Failed as failed:
            print(f"FAILED: repeat with SEED={seed} ROUND={number}\n{failed}", flush=True)
            sys.exit(1)
        print(f"round {number}: {said} ({time.monotonic() - started:.1f} s)", flush=True)
        number += 1
        if only or time.monotonic() - began > seconds:
            break
    print(f"{1 if only else number - 1} round(s), all equal")
