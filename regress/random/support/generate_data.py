"""Random topics and records: disorder, duplicates, tombstones, NULLs, null values, bad records, really late ones.

Every partition of a stream gets an opening record and, at the end, one of a far later time. The first makes lateness exactly
determined: the frontier of a view never passes the stream time of a partition that holds it back, so that of greatest(stream
time before the row, frontier) the first always decides. The last closes all windows and lets every unmatched row out.
"""
import json
from datetime import timedelta, timezone
from decimal import Decimal

from definitions import Record, Relation, Topic
from expressions import EPOCH, US, literal

STREAM_COLUMNS = {"n": "bigint", "k": "bigint", "g": "text", "v": "bigint", "x": "numeric", "b": "boolean", "f": "float", "tags": "text[]",
                  "t": "timestamptz"}
TABLE_COLUMNS = {"id": "bigint", "part": "text", "k": "bigint", "g": "text", "v": "bigint", "x": "numeric", "b": "boolean", "f": "float"}
TYPES = {"numeric": "numeric(12,2)", "float": "double precision"}
ZONES = ["UTC", "UTC", "Europe/Berlin", "Asia/Kolkata"]
FAR_US = 40 * 86_400 * US
KEYS = 5


class World:
    """The topics of a round and their records, in phases: what is produced before somebody waits for it."""

    def __init__(self, rng, exact):
        self.rng = rng
        self.exact = exact                               # the order of all records is known
        self.coarse = not exact and rng.random() < 0.5    # times of whole seconds, so that ends of windows and bounds are met exactly
        self.begin_us = rng.choice([-3_600, 1_711_846_500, 1_600_000_000]) * US    # over 1970, over a change of the clocks, neither
        self.zone = rng.choice(ZONES)
        self.streams = [self._stream(n + 1) for n in range(rng.choice([1, 2, 2, 3]))]
        self.tables = [self._table(n + 1) for n in range(rng.choice([1, 2, 3]))]
        self.step_us = rng.choice([1, 2, 5]) * US
        self.jitter_us = rng.choice([0, 3, 20]) * US     # ordinary disorder
        self.late_us = rng.choice([0, 60, 300]) * US     # really late rows, 0: none
        self.number = 0
        self.relation = Relation("r1", "relation", {"id": "bigint", "k": "bigint", "g": "text", "v": "bigint"}, ["id"],
                                 rows=[{"id": n, "k": self._maybe(rng.randrange(KEYS)), "g": self._maybe(rng.choice("abc")), "v": rng.randrange(9)}
                                       for n in range(KEYS - 1)])
        self.at_us = self.begin_us
        self.table_at_us = 1_500_000_000 * US
        self.phases = self._phases()

    @property
    def topics(self):
        return self.streams + self.tables + [self.relation]

    def _stream(self, number):
        topic = Topic(f"s{number}", "append", dict(STREAM_COLUMNS), [], "t", self.rng.choice([1, 1, 2, 3]))
        topic.record_time = self.rng.random() < 0.15 and self.begin_us > 0
        return topic

    def _table(self, number):
        keys = self.rng.choice([["id"], ["id"], ["id", "part"]])
        columns = {name: kind for name, kind in TABLE_COLUMNS.items() if name != "part" or "part" in keys}
        topic = Topic(f"t{number}", "upsert", columns, keys, None, self.rng.choice([1, 2]), self.rng.random() < 0.5)
        topic.key_format = self.rng.choice([None, "kafka", "json"]) if keys == ["id"] else None
        return topic

    def _phases(self):
        """Opening records; phases of streams, between them of tables; closing records."""
        count, size = self.rng.choice([1, 2, 4]), self.rng.choice([8, 25, 60])
        phases = [self._opening()]
        for n in range(count):
            phases.append([self._change(table) for table in self.tables for _ in range(self.rng.randrange(1, 12 if n == 0 else 6))])
            rows = [self._arrival(topic) for topic in self.streams for _ in range(self.rng.randrange(1, size))]
            self.rng.shuffle(rows)
            phases.append(self._timed(rows))
        phases.append([self._change(table) for table in self.tables for _ in range(3)])
        phases.append(self._closing())
        for record in {id(record): record for phase in phases for record in phase}.values():
            record.text = value_text(record, self.rng)
        return phases

    def _opening(self):
        """No two at one time: which of two topics comes first is nobody's promise."""
        places = [(topic, partition) for topic in self.streams for partition in range(topic.partitions)]
        return [self._record(topic, self.begin_us - 10 * US + n * 2000, partition) for n, (topic, partition) in enumerate(places)]

    def _closing(self):
        at = self.begin_us + FAR_US
        return [self._record(topic, at + partition * US, partition) for topic in self.streams for partition in range(topic.partitions)]

    def _arrival(self, topic):
        return (topic, self.rng.randrange(topic.partitions))

    def _timed(self, arrivals):
        """Gives arrivals their times: mostly in order, some behind, a few far behind; some come twice, some have a null value."""
        records = []
        for topic, partition in arrivals:
            self.at_us += self.rng.randrange(self.step_us + 1)
            chance = self.rng.random()
            behind = self.rng.randrange(self.jitter_us + 1)
            if self.late_us and chance < 0.12:
                behind = self.rng.randrange(self.late_us)
            record = self._record(topic, self.at_us - behind, partition)
            records.append(record)
            if chance > 0.97:
                records.append(record)
            elif chance > 0.95:
                records.append(Record(topic, partition, record.at_us, None))
            elif chance > 0.94:
                records.append(Record(topic, partition, record.at_us, None, bad=True))
        return records

    def _record(self, topic, at_us, partition):
        rng = self.rng
        if self.coarse:
            at_us = at_us // US * US
        at_us = at_us // 1000 * 1000 if self.coarse or topic.record_time or rng.random() < 0.7 else at_us + rng.randrange(1000)
        self.number += 1
        row = {"n": self.number, "k": self._maybe(rng.randrange(KEYS)), "g": self._maybe(rng.choice("abc")),
               "v": self._maybe(rng.randrange(-5, 15)), "x": self._amount(),
               "b": self._maybe(rng.random() < 0.5), "f": self._maybe(rng.randrange(-40, 200) / 8),
               "tags": self._maybe([self._maybe(rng.choice("xyz")) for _ in range(rng.randrange(4))]), "t": at_us}
        return Record(topic, partition, max(at_us // 1000 * 1000, 0), row, rng.choice([None, f"{row['k']}"]))

    def _maybe(self, value, chance=0.08):
        return None if self.rng.random() < chance else value

    def _amount(self):
        if self.rng.random() < 0.02:
            return Decimal("NaN")
        return self._maybe(Decimal(self.rng.randrange(-500, 3000)) / 100)

    def _change(self, table):
        """An upsert or a tombstone of a table; a key stays in its partition."""
        rng = self.rng
        ids = {"id": rng.randrange(KEYS + 1), "part": rng.choice("pq")}
        key = str(ids["id"]) if table.keys == ["id"] else json.dumps(ids, separators=(",", ":"))
        self.table_at_us += rng.randrange(3) * US
        partition = (ids["id"] + (ids["part"] == "q" and "part" in table.keys)) % table.partitions
        if rng.random() < 0.2:
            return Record(table, partition, self.table_at_us, None, key)
        row = {"id": ids["id"], "part": ids["part"], "k": self._maybe(rng.randrange(KEYS)), "g": self._maybe(rng.choice("abc")),
               "v": self._maybe(rng.randrange(-5, 15)), "x": self._amount(),
               "b": self._maybe(rng.random() < 0.5), "f": self._maybe(rng.randrange(-40, 200) / 8)}
        return Record(table, partition, self.table_at_us, {name: row[name] for name in table.columns}, key)


def create_topic_sql(topic, kafka_name, server):
    """The foreign table of a topic."""
    columns = []
    for name, kind in topic.columns.items():
        options = ""
        if name in topic.keys:
            options = f" OPTIONS (key 'true'{', path ' + chr(39) + name + chr(39) if topic.keys_in_value else ''})"
        elif name == topic.time and topic.record_time:
            options = " OPTIONS (metadata 'timestamp')"
        columns.append(f"{name} {TYPES.get(kind, kind)}{options}")
    options = f"topic '{kafka_name}', mode '{topic.mode}'" + (f", key_format '{topic.key_format}'" if topic.key_format else "")
    if topic.time and not topic.record_time:
        options += f", event_time '{topic.time}'"
    return f"CREATE FOREIGN TABLE {topic.name} ({', '.join(columns)}) SERVER {server} OPTIONS ({options})"


def create_relation_sql(relation):
    """An ordinary table with its rows."""
    columns = ", ".join(f"{name} {kind}" for name, kind in relation.columns.items())
    rows = ", ".join("(" + ", ".join(literal(row[name], kind) for name, kind in relation.columns.items()) + ")" for row in relation.rows)
    return f"CREATE TABLE {relation.name} ({columns}); INSERT INTO {relation.name} VALUES {rows}"


def value_text(record, rng):
    """The record's value as JSON, in one of the forms a producer may choose; None: null."""
    if record.bad:
        return rng.choice(["{", "not json", '{"n": "x1", "t": "yesterday"}', '{"t": null}', '{"n": 1}']) if not record.topic.record_time else "{"
    if record.row is None:
        return None
    fields = []
    for name, kind in record.topic.columns.items():
        value = record.row[name]
        if (name in record.topic.keys and not record.topic.keys_in_value) or (name == record.topic.time and record.topic.record_time):
            continue
        if value is None and rng.random() < 0.5:
            continue
        fields.append(f'"{name}": {json_value(value, kind, rng)}')
    if rng.random() < 0.2:
        fields.insert(rng.randrange(len(fields) + 1), '"nobody": {"maps": [1, null, "\\u00e4"]}')
    return "{" + ", ".join(fields) + "}"


def json_value(value, kind, rng):
    if value is None:
        return "null"
    if kind == "timestamptz":
        if value % 1000 == 0 and rng.random() < 0.5:
            return str(value // 1000)
        zone = timezone(timedelta(minutes=rng.choice([0, 0, 120, -330])))
        return json.dumps((EPOCH + timedelta(microseconds=value)).astimezone(zone).isoformat())
    if kind == "numeric" and value != value:
        return '"NaN"'
    if kind == "numeric":
        return f'"{value}"' if rng.random() < 0.2 else str(value)
    return json.dumps(value)
