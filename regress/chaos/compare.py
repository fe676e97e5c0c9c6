"""The comparison at the end: every view with its oracle, every sink with what it must hold, each by a query that gives what is wrong.

What another client reads from the topics is loaded into tables: all messages into `got`, records as the oracles read them into schema
`truth`. Each comparison has a kind, of which the last line counts the rows found: differences, losses, duplicates. `tampered` changes these tables
and wants every comparison to notice.

Failovers cut the topics of ordinary transactions into epochs: in one of them each message is there once and in order. A message that had
waited may be there again after a cut, and one of a transaction that a cut has lost has no row.
"""
import subprocess
from dataclasses import dataclass

from harness import Failed, kv_kafka, sink_column
from world import BAD, FACT_TOPICS, TABLES, TOPICS, TRUTH, VIEWS

FACTS = {"facts": "fact", "direct": "direct_fact", "deferred": "deferred_fact"}


@dataclass
class Comparison:
    kind: str       # differences, losses, duplicates
    name: str
    query: str      # gives what is wrong


class Compare:
    def __init__(self, servers, load, cuts):
        self.servers, self.load, self.cuts = servers, load, cuts
        self.session = servers.connect("30min")
        self.messages = {}               # of each sink
        self.list = []

    def sql(self, statement):
        with self.session.cursor() as cursor:
            cursor.execute(statement)
            return cursor.fetchall() if cursor.description else []

    def read_topics(self):
        """Loads what is in the topics, and makes the list of comparisons."""
        detached = [topic for topic, in self.sql("SELECT DISTINCT topic FROM detached")]
        sinks = [f"{name}_sink" for name in VIEWS] + list(FACT_TOPICS) + detached
        self.sql('CREATE TABLE got (topic text, committed boolean, partition int, "offset" bigint, timestamp_ms bigint, key text, value text,'
                 ' headers text, epoch int NOT NULL DEFAULT 0, PRIMARY KEY (topic, partition, "offset"))')
        for topic in [*TOPICS, *sinks]:
            self._read(topic)
        self.sql("ANALYZE got")
        self._cut()
        self.sql("CREATE SCHEMA truth")
        for topic, columns in TRUTH.items():
            source = f"SELECT key, value FROM got WHERE topic = '{topic}' AND committed"
            if topic in TABLES:
                source = f"SELECT DISTINCT ON (key) key, value FROM got WHERE topic = '{topic}' AND committed ORDER BY key, \"offset\" DESC"
            self.sql(f"CREATE TABLE truth.{topic} AS SELECT {columns} FROM (SELECT key, value::jsonb AS v FROM ({source}) g"
                     f" WHERE value IS NOT NULL AND value NOT LIKE '{BAD}%') g")
            self.sql(f"ANALYZE truth.{topic}")
        for topic in sinks:
            self.messages[topic] = self.sql(f"SELECT count(*) FROM got WHERE topic = '{topic}' AND committed")[0][0]
        self._make_list(detached)

    def _cut(self):
        """A message of epoch 2 came after two cuts; a cut has the number of the epoch that it ends."""
        self.sql('CREATE TABLE cut (number int, lossy boolean, topic text, partition int, "offset" bigint, at_ms bigint)')
        for number, cut in enumerate(self.cuts):
            for (topic, partition), offset in cut.ends.items():
                self.sql(f"INSERT INTO cut VALUES ({number}, {cut.lossy}, '{topic}', {partition}, {offset}, {cut.at_ms})")
        self.sql('UPDATE got SET epoch = c.epoch FROM (SELECT g.topic, g.partition, g."offset", count(*) AS epoch FROM got g'
                 ' JOIN cut c ON c.topic = g.topic AND c.partition = g.partition AND c."offset" <= g."offset" GROUP BY 1, 2, 3) c'
                 ' WHERE (got.topic, got.partition, got."offset") = (c.topic, c.partition, c."offset")')

    def _read(self, topic):
        """Committed messages, and of the others those that only uncommitted readers see."""
        for committed in True, False:
            self.sql('CREATE TEMP TABLE read (topic text, partition int, "offset" bigint, timestamp_ms bigint, key text, value text, headers text)')
            with subprocess.Popen(["kv_kafka", "consume", "--copy", "--isolation", "read_committed" if committed else "read_uncommitted", topic],
                                  stdout=subprocess.PIPE) as consumer, self.session.cursor() as cursor:
                cursor.copy_expert('COPY read (partition, "offset", timestamp_ms, key, value, headers) FROM STDIN', consumer.stdout)
            if consumer.returncode != 0:
                raise Failed(f"could not read {topic}")
            self.sql(f"INSERT INTO got SELECT '{topic}', {committed}, partition, \"offset\", timestamp_ms, key, value, headers FROM read r"
                     f" WHERE {committed} OR NOT EXISTS (SELECT FROM got g WHERE g.topic = '{topic}' AND g.partition = r.partition AND g.\"offset\" = r.\"offset\")")
            self.sql("DROP TABLE read")

    def _make_list(self, detached):
        for topic, count in self.load.produced.items():
            self._add("differences", f"records of {topic}", f"SELECT count(*) FROM got WHERE topic = '{topic}' AND committed HAVING count(*) <> {count}")
        for name, view in VIEWS.items():
            expected = f"TABLE {name}" if view.stored else view.oracle
            if view.stored:
                self._both(f"view {name}", f"TABLE {name}", view.oracle, "differences", "differences")
            if view.keys is None:
                self._appended(f"sink of {name}", f"{name}_sink", expected)
            else:
                self._folded(f"sink of {name}", f"{name}_sink", expected, view.grows)
        for topic, table in FACTS.items():
            self._facts(topic, table)
            self._add("duplicates", f"order of {topic}", self._order(topic, "n", "bigint"))
        self._folded("states", "states", "TABLE state", "n")
        for topic in detached:
            self._both(f"sink {topic}", f"SELECT to_jsonb(m) FROM ({self._rows(topic, f'{topic}_table')}) m",
                       f"SELECT row_data FROM detached WHERE topic = '{topic}'", "duplicates", "losses")
        self._both("dead letters", 'SELECT pipeline, topic, partition, "offset", view::text FROM kafka.dead_letters UNION ALL'
                   ' SELECT pipeline, topic, partition, "offset", NULL FROM discarded',
                   f"SELECT p, topic, partition, \"offset\", NULL FROM got, unnest('{{events,named}}'::text[]) p WHERE topic = 'events' AND committed AND value LIKE '{BAD}%'"
                   " UNION ALL SELECT 'events', topic, partition, \"offset\", 'shares' FROM (SELECT * FROM got WHERE topic = 'events' AND committed"
                   f" AND value NOT LIKE '{BAD}%') g WHERE value::jsonb @> '{{\"kind\": \"a\", \"value\": 0}}'", "differences", "differences")
        self._add("differences", "late rows", "SELECT relation, late_rows FROM kafka_state.view WHERE late_rows <> 0")

    def _add(self, kind, name, query):
        self.list.append(Comparison(kind, name, query))

    def _both(self, name, one, other, too_much, missing):
        """EXCEPT ALL both ways."""
        head = f"WITH one AS MATERIALIZED ({one}), other AS MATERIALIZED ({other})"
        self._add(too_much, f"{name}: too much", f"{head} SELECT d::text FROM (TABLE one EXCEPT ALL TABLE other) d")
        self._add(missing, f"{name}: missing", f"{head} SELECT d::text FROM (TABLE other EXCEPT ALL TABLE one) d")

    def _rows(self, topic, table, messages=None):
        """The messages of a sink as rows of its table's types."""
        columns = self.sql(f"SELECT attname, format_type(atttypid, atttypmod) FROM pg_attribute WHERE attrelid = '{table}'::regclass"
                           " AND attnum > 0 AND NOT attisdropped ORDER BY attnum")
        messages = messages or f"SELECT value FROM got WHERE topic = '{topic}' AND committed"
        return f"SELECT {', '.join(sink_column(*column) for column in columns)} FROM (SELECT value::jsonb AS v FROM ({messages}) g WHERE value IS NOT NULL) g"

    def _facts(self, topic, table):
        """Each row is a message, in an epoch once; of what is lost, messages may be there, committed or aborted."""
        messages = f"SELECT (value::jsonb->>'session')::int AS session, (value::jsonb->>'n')::bigint AS n, epoch FROM got WHERE topic = '{topic}' AND committed"
        lost = "EXISTS (SELECT FROM cut c WHERE c.lossy AND c.number >= m.epoch)"
        self._add("losses", f"{topic}: missing", f"SELECT session, n FROM {table} EXCEPT SELECT session, n FROM ({messages}) m")
        self._add("duplicates", f"{topic}: twice", f"SELECT session, n, epoch, count(*) FROM ({messages}) m GROUP BY 1, 2, 3 HAVING count(*) > 1")
        self._add("differences", f"{topic}: too much", f"SELECT * FROM ({messages}) m WHERE NOT {lost}"
                  f" AND NOT EXISTS (SELECT FROM {table} t WHERE (t.session, t.n) = (m.session, m.n))")
        self._add("losses", f"{topic}: aborted for good", f"SELECT value FROM got m WHERE topic = '{topic}' AND NOT committed AND NOT {lost}"
                  " AND NOT EXISTS (SELECT FROM cut c WHERE c.lossy AND c.at_ms >= m.timestamp_ms) AND NOT EXISTS"
                  f" (SELECT FROM got c WHERE c.topic = '{topic}' AND c.committed AND c.key IS NOT DISTINCT FROM m.key AND c.value = m.value)")

    def _appended(self, name, topic, expected):
        """Each row is a message, once; what only uncommitted readers see came again in a transaction that committed."""
        self._both(name, self._rows(topic, topic), expected, "duplicates", "losses")
        self._add("losses", f"{name}: aborted for good", f"SELECT u.value FROM got u WHERE topic = '{topic}' AND NOT committed AND NOT EXISTS"
                  f" (SELECT FROM got c WHERE c.topic = '{topic}' AND c.committed AND c.key IS NOT DISTINCT FROM u.key AND c.value = u.value)")

    def _folded(self, name, topic, expected, grows):
        """The last message of a key is its row, or a tombstone; versions of a key come once and in order, in one partition."""
        last = f"SELECT DISTINCT ON (key) value FROM got WHERE topic = '{topic}' AND committed ORDER BY key, \"offset\" DESC"
        self._both(name, self._rows(topic, topic, last), expected, "losses", "losses")
        self._add("duplicates", f"order of {name}", self._order(topic, grows, "timestamptz" if grows == "created_at" else "bigint"))

    def _order(self, topic, grows, type_name):
        return (f"SELECT key, version, before, partition FROM (SELECT key, partition, version, lag(version) OVER w AS before, lag(partition) OVER w AS other FROM"
                f" (SELECT key, partition, \"offset\", epoch, (value::jsonb->>'{grows}')::{type_name} AS version FROM got"
                f" WHERE topic = '{topic}' AND committed AND value IS NOT NULL) g"
                " WINDOW w AS (PARTITION BY key, epoch ORDER BY partition, \"offset\")) g WHERE version <= before OR partition <> other")

    def run(self):
        """Gives {kind: number of rows}, and prints what is wrong."""
        counts = dict.fromkeys(("differences", "losses", "duplicates"), 0)
        for comparison in self.list:
            wrong = self.sql(comparison.query)
            counts[comparison.kind] += len(wrong)
            if wrong:
                print(f"WRONG: {comparison.name}: {len(wrong)} ({comparison.kind})", *(f"    {row}" for row in wrong[:5]), sep="\n", flush=True)
        return counts

    def verify(self):
        """The product's own comparison must agree; gives how many rows it finds."""
        found = 0
        for name, view in VIEWS.items():
            if view.stored and view.verify:
                wrong = self.sql(f"SELECT * FROM kafka.verify('{name}')")
                found += len(wrong)
                if wrong:
                    print(f"WRONG: kafka.verify('{name}')", *(f"    {row}" for row in wrong[:5]), sep="\n", flush=True)
        return found

    def tampered(self):
        """
        Changes what was read, a way at a time, and gives the names of comparisons that no way makes fail. Where more is looked for than rows
        of one side, the name is told by both.
        """
        first = ("SELECT topic, partition, \"offset\" FROM (SELECT *, row_number() OVER (PARTITION BY topic, partition ORDER BY \"offset\") AS number"
                 " FROM got WHERE committed AND value IS NOT NULL AND value NOT LIKE 'bad%') g WHERE number < 20")
        some = f"(topic, partition, \"offset\") IN ({first})"
        ways = ["; ".join(f"DELETE FROM truth.{topic} WHERE ctid IN (SELECT ctid FROM truth.{topic} LIMIT 50)" for topic in TRUTH),
                "; ".join(f"INSERT INTO truth.{topic} SELECT * FROM truth.{topic} LIMIT 50" for topic in TRUTH),
                "DELETE FROM truth.orders WHERE last",
                # a message is lost, of keyed sinks the last one of a key
                "DELETE FROM got WHERE committed AND (topic, key, \"offset\") IN (SELECT DISTINCT ON (topic) topic, key, max(\"offset\") FROM got"
                " WHERE committed AND value IS NOT NULL GROUP BY topic, key ORDER BY topic, count(*) DESC)",
                # the first ones come again, at the end
                f"INSERT INTO got SELECT topic, true, partition, \"offset\" + 1000000000, timestamp_ms, key, value, headers FROM got WHERE {some}",
                # only uncommitted readers see them; and of ordinary transactions those that no failover can have lost
                f"UPDATE got SET committed = false WHERE {some}",
                f"UPDATE got SET committed = false WHERE topic IN {tuple(FACTS)} AND epoch = {len(self.cuts)}",
                "; ".join(f"DELETE FROM {table}" for table in FACTS.values()),
                "UPDATE kafka_state.view SET late_rows = 1; DELETE FROM got WHERE value LIKE 'bad%'",
                "INSERT INTO got SELECT topic, true, partition, \"offset\" + 1000000000, timestamp_ms, key, value, headers FROM got WHERE value LIKE 'bad%'"]
        unseen = {comparison.name: comparison for comparison in self.list}
        for way in ways:
            self.sql("BEGIN")
            self.sql(way)
            for name, comparison in list(unseen.items()):
                if self.sql(comparison.query):
                    del unseen[name]
            self.sql("ROLLBACK")
        return list(unseen)
