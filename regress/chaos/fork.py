"""A copy that goes on beside the cluster under names of its own, and publishes elsewhere.

It is made in a moment in which nothing waits to be published, for what waits would go out from both. So its sinks get exactly what changes in it from
then on: the difference between its views at the end and its views as they were copied. It is thrown away when that has been compared.
"""
import os
import shutil
import subprocess

import psycopg2
from beside import Beside, differ
from harness import Failed, kv_kafka, sink_column
from servers import create_topics, wait
from world import FACT_TOPICS, PIPELINES, VIEWS

WAIT_S = 180
# those that changes.py leaves alone, in pipelines that it does not stop
COMPARED = ["paid", "moves", "balance", "places"]
QUIET = ("SELECT NOT EXISTS (SELECT FROM kafka_state.pipeline p LEFT JOIN kafka_state.published n USING (pipeline) WHERE p.batch > 0 AND n.batch IS DISTINCT FROM p.batch)"
         " AND NOT EXISTS (SELECT FROM kafka_state.transaction_outbox) AND NOT EXISTS (SELECT FROM kafka_state.transaction_batch WHERE NOT published)")
STATE = ["kafka.pipelines", "(SELECT error, error_detail FROM kafka_state.processes() WHERE error IS NOT NULL) e", "kafka_state.transaction_batch",
         "kafka_state.published", "(SELECT count(*) FROM kafka_state.transaction_outbox) o"]
PAUSED = "SELECT bool_and(phase = 'paused') FROM kafka.pipelines"


class Fork(Beside):
    def __init__(self, servers, seed, pause):
        super().__init__(servers, seed, "fork", pause)
        self.number = 0
        self.copy = None                 # the session in it

    def put_back(self):
        """Pipelines go on, as soon as the cluster answers."""
        def resume():
            try:
                for pipeline in PIPELINES:
                    self.servers.rows(f"SELECT kafka.resume('{pipeline}')")
                return True
            except psycopg2.Error:
                return False
        wait("pipelines to be resumed", resume, WAIT_S)

    def once(self):
        self.number += 1
        directory = f"{self.servers.dir}/copy_fork{self.number}"
        try:
            if self._back_up(directory):
                self._go_on(directory)
                return
        except Failed as failed:
            self.wrong.append(f"fork {self.number}: {failed}: {self._state()}")
        finally:
            self.copy = None
            self.servers.end_cluster(directory)
            shutil.rmtree(directory, ignore_errors=True)
        self.lost += 1
        self.done -= 1

    def _back_up(self, directory):
        """Copies the cluster while it stands still, if it can be had to; sessions wait meanwhile."""
        try:
            self.sql("SET lock_timeout = '10s'")
            for pipeline in PIPELINES:
                self.sql(f"SELECT kafka.pause('{pipeline}')")
            self.sql("BEGIN")
            self.sql("LOCK TABLE fact, direct_fact, deferred_fact, state IN SHARE MODE")
            wait("all to be published", lambda: self.sql(PAUSED) == [(True,)] and self.sql(QUIET) == [(True,)], 30)
            self.servers.make_copy(directory)
            return True
        except Failed:
            return False                 # a broker is away, or the cluster has been ended
        finally:
            self.close()
            self.put_back()

    def _go_on(self, directory):
        """Starts the copy under other names, with other topics, and compares what it publishes."""
        self.servers.configure(directory, **{"kafka.instance": ""})
        port = self.servers.start_copy(directory)
        self.copy = psycopg2.connect(host="127.0.0.1", port=port, user="postgres", dbname="postgres",
                                     options="-c kafka.allow_incomplete_reads=on -c timezone=UTC -c statement_timeout=120s -c client_min_messages=warning")
        self.copy.autocommit = True
        if self._value(QUIET) is not True:
            return
        create_topics({self._topic(topic): 2 for topic in [*FACT_TOPICS, *(f"{name}_sink" for name in VIEWS)]})
        for table, topic in self._rows("SELECT ftrelid::regclass::text, substr(o, 7) FROM pg_foreign_table, unnest(ftoptions) o WHERE o LIKE 'topic=%'"):
            if topic in FACT_TOPICS or topic.endswith("_sink"):
                self._run(f"ALTER FOREIGN TABLE {table} OPTIONS (SET topic '{self._topic(topic)}')")
            elif topic.startswith("detached"):
                self._run(f"DROP FOREIGN TABLE {table} CASCADE")
        for name in COMPARED:
            self._run(f"CREATE TABLE before_{name} AS TABLE {name}")
        self._run("SELECT kafka.fork()")
        self._run("INSERT INTO fact VALUES (1000, 1)")
        for pipeline in PIPELINES:
            self._run(f"SELECT kafka.resume('{pipeline}')")
        for name in COMPARED:
            wait(f"view {name} of a fork", lambda: self._value(f"SELECT kafka.wait_for_view('{name}', interval '10 s')"), WAIT_S)
        for pipeline in PIPELINES:
            self._run(f"SELECT kafka.pause('{pipeline}')")
        wait("a fork to pause and publish", lambda: self._value(f"SELECT ({QUIET.removeprefix('SELECT ')})") and self._value(PAUSED.replace(
            "FROM kafka.pipelines", "FROM kafka.pipelines WHERE pipeline IN ('shop', 'moves', 'tables')")), WAIT_S)
        if sum([self._compare(name) for name in COMPARED]) == 0:
            self.wrong.append(f"fork {self.number}: it publishes nothing")
        if self._read("facts") != 1:
            self.wrong.append(f"fork {self.number}: not one message of its own transactions")

    def _compare(self, name):
        """The rows that are new, each a message; or of each key that has changed the last one. Gives the number of messages."""
        keys = VIEWS[name].keys
        found = self._read(f"{name}_sink")
        columns = self._rows("SELECT attname, format_type(atttypid, atttypmod) FROM pg_attribute"
                             f" WHERE attrelid = '{name}'::regclass AND attnum > 0 AND NOT attisdropped ORDER BY attnum")
        messages = "SELECT value FROM read" if keys is None else 'SELECT DISTINCT ON (key) value FROM read ORDER BY key, "offset" DESC'
        rows = f"SELECT {', '.join(sink_column(*column) for column in columns)} FROM (SELECT value::jsonb AS v FROM ({messages}) m WHERE value IS NOT NULL) m"
        count = self._value(differ(rows, f"TABLE {name} EXCEPT ALL TABLE before_{name}"))
        if count:
            self.wrong.append(f"fork {self.number}: {count} rows differ between its view {name} and what it has published of it")
        return found

    def _read(self, topic):
        """Loads the committed messages of one of its topics into table `read`; gives how many."""
        kv_kafka("settle", self._topic(topic))
        self._run('DROP TABLE IF EXISTS read; CREATE TABLE read (partition int, "offset" bigint, timestamp_ms bigint, key text, value text, headers text)')
        with subprocess.Popen(["kv_kafka", "consume", "--copy", "--isolation", "read_committed", self._topic(topic)], stdout=subprocess.PIPE) as consumer, \
                self.copy.cursor() as cursor:
            cursor.copy_expert("COPY read FROM STDIN", consumer.stdout)
        if consumer.returncode != 0:
            raise Failed(f"could not read {self._topic(topic)}")
        return self._value("SELECT count(*) FROM read")

    def _state(self):
        """What it says of itself, for the text of a failure."""
        try:
            return [self._rows(f"SELECT * FROM {what}") for what in STATE] if self.copy else "it has not started"
        except psycopg2.Error as error:
            return error

    def _topic(self, topic):
        return f"fork{self.number}_{topic}"

    def _run(self, statement):
        with self.copy.cursor() as cursor:
            cursor.execute(statement)

    def _rows(self, query):
        with self.copy.cursor() as cursor:
            cursor.execute(query)
            return cursor.fetchall()

    def _value(self, query):
        return self._rows(query)[0][0]
