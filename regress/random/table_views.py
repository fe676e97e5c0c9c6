"""Random upserts and deletions through views that tables drive, compared with the views' own queries to the letter.

Each round makes upsert topics (people, cities, items with a key of two parts that may be null, notes) and plays changes of them
in chunks of random size: new rows, changed values and references, the same row again, tombstones for rows that are there and for
some that are not, re-inserts. Views of every shape exist from the start or come later, share a pipeline or not. After each
chunk some views, and in the end all, must have the rows of their defining query over the topics read as foreign tables, with the same text
of every value; kafka.verify must find nothing; and each sink, folded, must equal its view.
"""
import sys

sys.dont_write_bytecode = True
sys.path.insert(0, __file__.rsplit("/", 1)[0] + "/support")
from harness import Database, Failed, compare, engine_state, kv_kafka, main, no_losses, produce, sink_column, verify, wait_for_view

TABLES = {
    "people": ("id int OPTIONS (key 'true'), city text, boss int, score numeric, tag text", ["id"]),
    "cities": ("city text OPTIONS (key 'true'), country text, zone int", ["city"]),
    "items": ("owner int OPTIONS (key 'true'), line int OPTIONS (key 'true'), city text, price numeric(8,2), qty int", ["owner", "line"]),
    "notes": ("id int OPTIONS (key 'true'), words text[], doc json, at timestamptz, heat double precision", ["id"]),
}
ROWS = {
    "filter": "SELECT id, upper(tag) AS tag, score * 2 AS doubled FROM people WHERE score > 2 OR tag = 'a'",
    "whole": "SELECT * FROM notes",
    "constant": "SELECT id, city, score FROM people WHERE id = 3",
    "pairs": "SELECT owner, line, price * qty AS cost FROM items WHERE qty <> 2",
    "lookup": "SELECT p.id, p.score, c.country FROM people p JOIN cities c ON c.city = p.city",
    "foreign_left": "SELECT p.id, p.tag, c.country, c.zone FROM people p LEFT JOIN cities c ON c.city = p.city AND c.zone > 1",
    "foreign_right": "SELECT c.country, p.id, p.score FROM cities c RIGHT JOIN people p USING (city) WHERE p.tag IS DISTINCT FROM 'b'",
    "same_key": "SELECT p.id, p.tag, n.words, n.doc FROM people p JOIN notes n ON n.id = p.id",
    "same_key_left": "SELECT id, p.tag, n.at FROM people p LEFT JOIN notes n USING (id)",
    "fan_out": "SELECT p.id, i.owner, i.line, i.price, p.score FROM people p LEFT JOIN items i ON i.owner = p.id AND i.qty > 1",
    "anti": "SELECT p.id, p.tag FROM people p LEFT JOIN items i ON i.owner = p.id AND i.price > 3 WHERE i.owner IS NULL",
    "chain": "SELECT i.owner, i.line, p.tag, c.country, n.heat FROM items i JOIN people p ON p.id = i.owner LEFT JOIN cities c ON c.city = p.city"
             " LEFT JOIN notes n ON n.id = p.boss AND c.zone < 3",
    "self": "SELECT p.id, b.id AS boss, b.tag, p.score - b.score AS ahead FROM people p JOIN people b ON b.id = p.boss",
    "self_left": "SELECT p.id, b.tag AS over, bb.tag AS above FROM people p LEFT JOIN people b ON b.id = p.boss LEFT JOIN people bb ON bb.id = b.boss",
    "many": "SELECT i.owner, i.line, p.id FROM items i JOIN people p ON p.city = i.city",
    "two_columns": "SELECT a.owner, a.line, b.owner AS other, b.line AS other_line FROM items a JOIN items b ON b.city = a.city AND b.qty = a.qty AND b.price > a.price",
    "two_ways": "SELECT p.id, c.country, h.owner, h.line FROM people p JOIN cities c ON c.city = p.city JOIN items h ON h.city = c.city AND h.owner = p.id",
    "coalesced": "SELECT p.id, n.id AS note, c.country FROM people p LEFT JOIN notes n ON n.id = p.boss"
                 " LEFT JOIN cities c ON c.city = p.city AND c.zone = coalesce(n.id, 1)",
    "full_same_key": "SELECT id, p.tag, n.heat + 0 AS heat, n.id AS note FROM people p FULL JOIN notes n USING (id)",
    "full_filtered": "SELECT id, p.score, n.at FROM people p FULL JOIN notes n USING (id) WHERE p.tag IS DISTINCT FROM 'a' AND coalesce(p.boss, 2) > 1",
    "full_foreign": "SELECT p.id, c.city, p.tag, c.country FROM people p FULL JOIN cities c ON c.city = p.city AND c.zone > 0",
    "full_and_left": "SELECT p.id, n.id AS note, b.city, b.country FROM people p FULL JOIN notes n ON n.id = p.id LEFT JOIN cities b ON b.city = p.city",
    "united": "SELECT 'p' AS source, id, tag AS what, score AS size FROM people UNION ALL SELECT 'n', id, words[1], heat::numeric FROM notes WHERE heat < 1e5"
              " UNION ALL SELECT 'j', p.id, c.country, p.boss FROM people p JOIN cities c USING (city)",
    "unnested": "SELECT n.id, w.ordinality, w.word FROM notes n CROSS JOIN LATERAL unnest(n.words) WITH ORDINALITY AS w(word) WHERE w.word <> 'x'",
}
GROUPS = {
    "per_city": "SELECT city, count(*) AS n, sum(score) AS total, avg(score) AS mean FROM people GROUP BY city",
    "per_boss": "SELECT boss, count(tag) AS tags, round(min(score), 3) AS least, max(tag) AS last, sum(id) AS ids FROM people GROUP BY boss HAVING count(*) > 1",
    "per_country": "SELECT c.country, count(*) AS n, sum(p.boss) AS bosses, avg(p.boss) AS mean FROM people p JOIN cities c USING (city) GROUP BY c.country",
    "kinds": "SELECT c.country, count(DISTINCT p.tag) AS tags, bool_or(p.boss > 3) AS high FROM people p JOIN cities c ON c.city = p.city GROUP BY c.country",
    "lists": "SELECT city, array_agg(id ORDER BY id) AS ids, string_agg(tag, '-' ORDER BY tag, id) AS tags FROM people WHERE score IS NOT NULL GROUP BY city",
    "left_groups": "SELECT p.tag, count(i.line) AS lines, sum(i.price * i.qty) AS cost, max(i.price) AS most FROM people p LEFT JOIN items i ON i.owner = p.id GROUP BY p.tag",
    "all_items": "SELECT count(*) AS n, sum(price) AS total, avg(qty) AS mean, max(qty) AS most FROM items",
    "all_cities": "SELECT array_agg(city ORDER BY city) AS cities, min(zone) AS least FROM cities",
    "different": "SELECT DISTINCT city, tag FROM people",
    "two_sources": "SELECT name, count(*) AS n, sum(size) AS size FROM (SELECT city AS name, boss AS size FROM people UNION ALL SELECT city, qty FROM items) u GROUP BY name",
    "words": "SELECT w.word, count(*) AS n, min(n.id) AS first FROM notes n CROSS JOIN LATERAL unnest(n.words) AS w(word) GROUP BY w.word",
    "extremes": "SELECT i.city, min(i.price) AS low, max(i.price) AS high, min(i.qty) FILTER (WHERE i.price > 2) AS few, count(*) FILTER (WHERE i.qty > 1) AS n"
                " FROM items i GROUP BY i.city HAVING max(i.qty) < 4",
    "odd": "SELECT zone % 2 AS odd, coalesce(country, '-') AS country, count(*) AS n, sum(zone) FILTER (WHERE zone > 1) AS zones FROM cities GROUP BY 1, 2",
    "middle": "SELECT qty, percentile_disc(0.5) WITHIN GROUP (ORDER BY price) AS price FROM items GROUP BY qty",
    "full_groups": "SELECT coalesce(c.country, '-') AS country, count(p.id) AS people, count(c.city) AS cities, sum(p.score) AS score"
                   " FROM people p FULL JOIN cities c ON c.city = p.city GROUP BY 1",
    "ahead": "SELECT b.tag, count(*) AS n, sum(p.score) AS score FROM people p JOIN people b ON b.id = p.boss GROUP BY b.tag HAVING sum(p.id) BETWEEN 3 AND 9",
}
CITIES = ["oslo", "rome", "kyiv", "lima", "bonn", None]


def chance(rng, value, other=None, probability=0.1):
    return other if rng.random() < probability else value


def number(rng):
    """Numbers whose scale and kind differ: 1.5 and 1.50 are equal and not the same."""
    return rng.choice(["1.5", "1.50", "2", "2.0", "3.25", "0", "-4", "7.001", "10", None] + (["NaN"] if rng.random() < 0.2 else []))


def new_row(rng, table, key):
    if table == "people":
        return {"id": key, "city": rng.choice(CITIES), "boss": chance(rng, rng.randrange(8)), "score": number(rng), "tag": rng.choice(["a", "b", "c", None])}
    if table == "cities":
        return {"city": key, "country": rng.choice(["N", "I", "U", None]), "zone": chance(rng, rng.randrange(4))}
    if table == "items":
        return {"owner": key[0], "line": key[1], "city": rng.choice(CITIES), "price": rng.choice(["1.5", "2", "3.25", "9.99", None]), "qty": chance(rng, rng.randrange(4))}
    words = rng.choice([None, [], ["x"], ["y", "x"], ["z", None, "z"]])
    return {"id": key, "words": words, "doc": rng.choice([None, {"a": 1}, {"a":  1.0}, [1, 2]]), "at": rng.choice([None, 1_700_000_000_000, "2024-03-31 02:30:00+01"]),
            "heat": rng.choice([None, 0.1, 1e300, "NaN", -0.0])}


def new_key(rng, table):
    if table == "cities":
        return rng.choice(CITIES[:-1])
    if table == "items":
        return chance(rng, rng.randrange(6), None, 0.05), chance(rng, rng.randrange(4))
    return rng.randrange(8)


def key_text(table, key):
    if table != "items":
        return str(key)
    owner, line = ("null" if part is None else part for part in key)
    return f'{{"owner":{owner},"line":{line}}}'


class Tables:
    """The tables of a round: what was produced last of each key."""

    def __init__(self, rng, database):
        self.rng, self.database = rng, database
        self.partitions = {table: rng.choice([1, 1, 2, 3]) for table in TABLES}
        self.last = {table: {} for table in TABLES}
        self.ms = 1_600_000_000_000
        for table, (columns, _) in TABLES.items():
            kv_kafka("create", self.topic(table), str(self.partitions[table]), "retention.ms=-1", "cleanup.policy=compact")
            database.run(f"CREATE FOREIGN TABLE {table} ({columns}) SERVER {database.schema} OPTIONS (topic '{self.topic(table)}', mode 'upsert')")

    def topic(self, table):
        return f"{self.database.topics}_{table}"

    def change(self, changes):
        """Produces so many changes, of all tables or of one."""
        tables = self.rng.choice([list(TABLES), [self.rng.choice(list(TABLES))]])
        records = {table: [] for table in tables}
        for _ in range(changes):
            table = self.rng.choice(tables)
            key = new_key(self.rng, table)
            before = self.last[table].get(key)
            kind = self.rng.random()
            value = new_row(self.rng, table, key)
            if kind < 0.2:
                value = None
            elif kind < 0.3:
                value = before
            elif kind < 0.5 and before:
                column = self.rng.choice([name for name in value if name not in TABLES[table][1]])
                value = {**before, column: value[column]}
            self.last[table][key] = value
            self.ms += self.rng.randrange(3)
            partition = sum(key_text(table, key).encode()) % self.partitions[table]
            records[table].append((partition, self.ms, key_text(table, key), value))
        for table in self.rng.sample(tables, len(tables)):
            produce(self.topic(table), records[table])


def check(database, views, queries):
    """The rows of the views are those of their queries, in the text of every value. The topics are read once for all."""
    for view in views:
        wait_for_view(database, view)
    copies = "\n".join(f"CREATE TEMP TABLE {table} AS TABLE {database.schema}.{table};" for table in TABLES)
    both = "\n".join(
        f"(SELECT '{view}: ' || d FROM (((SELECT v::text FROM {view} v) EXCEPT ALL (SELECT q::text FROM ({queries[view]}) q))) x (d) LIMIT 10)"
        f" UNION ALL (SELECT 'missing in {view}: ' || d FROM (((SELECT q::text FROM ({queries[view]}) q) EXCEPT ALL (SELECT v::text FROM {view} v))) x (d) LIMIT 10);"
        for view in views)
    rows = database.run(copies + both)
    if rows:
        raise Failed("\n".join(row[0] for row in rows) + f"\n{[queries[view] for view in views]}\n{engine_state(database)}")
    no_losses(database, views[0])


def check_sink(database, view, query):
    """What a consumer keeps of the sink is the view."""
    columns = database.columns(query)
    database.run(f"CREATE TABLE {view}_messages AS SELECT * FROM kafka_test.consume('{database.topics}_{view}_sink')")
    folded = ", ".join(sink_column(name, type_name) for name, type_name in columns)
    names = ", ".join(f"{name}::text" for name, _ in columns)
    compare(database, f"sink of {view}",
            f"SELECT {names} FROM (SELECT {folded} FROM (SELECT value::json AS v FROM"
            f" (SELECT DISTINCT ON (partition, key) value FROM {view}_messages ORDER BY partition, key, \"offset\" DESC) l WHERE value IS NOT NULL) m) f",
            f"SELECT {names} FROM {view}")
    database.run(f"DROP TABLE {view}_messages")


def create(rng, database, queries, names):
    """Creates views in one transaction, in pipelines of their own or in one, some with a sink."""
    pipeline = f", kafka.pipeline = '{database.schema}_{names[0]}'" if rng.random() < 0.5 else ""
    database.run("BEGIN;\n" + "\n".join(f"CREATE MATERIALIZED VIEW {name} WITH (kafka.continuous{pipeline}) AS {queries[name]};" for name in names) + "\nCOMMIT")
    sinks = []
    for name in names:
        columns = database.columns(queries[name])
        keys = [row[0] for row in database.run(f"SELECT attname FROM pg_constraint c JOIN pg_attribute a ON attrelid = conrelid AND attnum = ANY (conkey)"
                                               f" WHERE conrelid = '{name}'::regclass AND contype = 'u'")]
        if not keys or rng.random() < 0.5 or any(kind.endswith(("[]", "json")) for _, kind in columns):
            continue
        kv_kafka("create", f"{database.topics}_{name}_sink", "1", "retention.ms=-1")
        listed = ", ".join(f"{column} {kind}" + (" OPTIONS (key 'true')" if column in keys else "") for column, kind in columns)
        database.run(f"CREATE FOREIGN TABLE {name}_sink ({listed}) SERVER {database.schema}"    # in JSON a key may be null
                     f" OPTIONS (topic '{database.topics}_{name}_sink', mode 'upsert', key_format 'json');"
                     f"SELECT kafka.attach_sink('{name}', '{name}_sink')")
        sinks.append(name)
    return sinks


def play_round(rng, number_of_round):
    batch_rows = rng.choice([1, 3, 40, 100000])
    database = Database(f"table_views_{number_of_round}", rng.choice(["UTC", "Europe/Berlin"]))
    database.run(f"ALTER SYSTEM SET kafka.batch_rows = {batch_rows}")
    database.run("SELECT pg_reload_conf()")
    tables = Tables(rng, database)
    tables.change(rng.choice([0, 5, 60]))
    queries = {name: {**ROWS, **GROUPS}[name] for name in rng.sample(sorted(ROWS), 3) + rng.sample(sorted(GROUPS), 4)}
    left, sinks, created, changes = list(queries), [], [], 0
    while left or changes < 60:
        if left and rng.random() < 0.6:
            names, left = left[:3], left[3:]
            sinks += create(rng, database, queries, names)
            created += names
        size = rng.choice([1, 2, 5, 30])
        changes += size
        tables.change(size)
        if created:
            check(database, rng.sample(created, min(4, len(created))), queries)
    check(database, list(queries), queries)
    for view, query in queries.items():
        if rng.random() < 0.2:
            verify(database, view)
        if view in sinks:
            check_sink(database, view, query)
    rows = sum(int(database.value(f"SELECT count(*) FROM {view}")) for view in queries)
    database.drop()
    return f"{changes} changes, batch_rows {batch_rows}, {', '.join(queries)}: {rows} rows, {len(sinks)} sinks"


main(play_round, 60)
