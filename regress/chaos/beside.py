"""What goes on beside the load: backups whose copies are started, vacuum, long readers, DDL, other consumers.

Each is a thread; what it finds wrong is in `wrong`. DDL that was cut off in the middle is put right at its next turn, as a person
would do: it looks at what is there.
"""
import os
import shutil
import subprocess
import time

import psycopg2
from harness import Failed, kv_kafka
from servers import create_topics, run, wait
from sessions import Repeating, is_incomplete
from world import SAME_IN_A_SNAPSHOT, VIEWS

STORED = [name for name, view in VIEWS.items() if view.stored]


def differ(one, other):
    """A query that counts the rows in which two queries differ."""
    return (f"WITH one AS MATERIALIZED ({one}), other AS MATERIALIZED ({other}) SELECT count(*) FROM"
            " ((TABLE one EXCEPT ALL TABLE other) UNION ALL (TABLE other EXCEPT ALL TABLE one)) difference")


class Beside(Repeating):
    def __init__(self, servers, seed, name, pause, timeout="120s"):
        super().__init__(servers, seed, name, pause, timeout)
        self.wrong = []

    def forgives(self, error):
        return is_incomplete(error)


class Vacuum(Beside):
    def __init__(self, servers, seed):
        super().__init__(servers, seed, "vacuum", 6)

    def once(self):
        """FULL makes a new file, and Postgres itself cannot start when it is killed while it makes an unlogged one (guarantees.md)."""
        tables = self.sql("SELECT c.oid::regclass::text, relpersistence FROM pg_class c WHERE relkind IN ('r', 'm')"
                          " AND relnamespace IN ('public'::regnamespace, 'kafka_state'::regnamespace) ORDER BY 1")
        table, persistence = self.rng.choice(tables)
        self.sql("SET lock_timeout = '5s'")
        self.sql(self.rng.choice(["VACUUM", "VACUUM (ANALYZE)", "ANALYZE", "VACUUM (FULL)" if persistence == "p" else "VACUUM (FREEZE)"]) + " " + table)


class Consumers(Beside):
    """
    The offsets that other consumers commit, as any cluster has. Kafka (4.1.1) may load only a part of a partition of __consumer_offsets when its
    leader is elected again, and notices when somebody writes there ("out of sync with the underlying log"): until then transactions whose
    groups are in it do not end, and no other can begin under their names.
    """
    GROUPS = [f"beside {number}" for number in range(8)]     # in all of the partitions there are

    def __init__(self, servers, seed):
        super().__init__(servers, seed, "consumers", 2)

    def run(self):
        while not self.stopping.wait(self.pause):
            try:
                subprocess.run(["kv_kafka", "commit", "orders", *self.GROUPS], check=True, capture_output=True, timeout=20)
                self.done += 1
            except (subprocess.CalledProcessError, subprocess.TimeoutExpired):
                self.lost += 1                # its broker is away


class Reader(Beside):
    """Holds a snapshot for long, in which nothing may change, and what one batch writes to two views is in both or in none."""

    def __init__(self, servers, seed, number):
        super().__init__(servers, seed, f"reader {number}", 4)

    def once(self):
        names = self.rng.sample([name for name in STORED if name not in MOVED], 3)
        counts = ", ".join(f"(SELECT count(*) FROM {name})" for name in names)
        until = time.monotonic() + self.rng.uniform(30, 120)
        self.sql("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
        first = self.sql(f"SELECT {counts}")
        for name, one, other in SAME_IN_A_SNAPSHOT:
            if name not in MOVED and self.sql(differ(one, other)) != [(0,)]:
                self.wrong.append(f"view {name} differs from its query over its view in one snapshot")
        while time.monotonic() < until and not self.stopping.wait(5):
            self.sql("SELECT")
        if self.sql(f"SELECT {counts}") != first:
            self.wrong.append(f"a snapshot has changed: {names}")
        self.sql("COMMIT")


# views that changes.py renames and moves, and that are not looked at by others
MOVED = ["odd", "hops", "visits", "labels"]


class Definitions(Beside):
    """DDL: views over views come and go, sinks too, indexes are made, topics get partitions."""

    def __init__(self, servers, seed, load):
        super().__init__(servers, seed, "ddl", 8)
        self.load, self.number = load, 0
        self.under_way = None            # (view, sink, topic) that is there for a while

    def connected(self):
        # whoever waits for a long reader keeps everybody else waiting behind it
        self.sql("SET lock_timeout = '10s'")

    def forgives(self, error):
        """The server has got another name meanwhile."""
        return error.pgcode == "42704" or super().forgives(error)

    def once(self):
        self.put_back()
        self.rng.choice([self._over, self._sink, self._index, self._partitions])()

    def put_back(self):
        """Ends what the last turn has left."""
        self.sql("DROP INDEX IF EXISTS chaos_index")
        if self.under_way:
            self._detach(*self.under_way)
            self.under_way = None

    def _new_topic(self):
        self.number += 1
        topic = f"detached_{self.number}"
        create_topics({topic: 2})
        return topic

    def _attach(self, view, creation=None):
        """Attaches a new sink to a view, with all of its rows so far, and lets it be for a while."""
        try:
            topic = self._new_topic()
        except Failed:
            return
        self.under_way = (view, f"{topic}_table", topic, creation is not None)
        if creation:
            self.sql(creation)
        server = self.sql("SELECT srvname FROM pg_foreign_server")[0][0]
        self.sql(f"CREATE FOREIGN TABLE {topic}_table ({self._columns(view)}) SERVER {server} OPTIONS (topic '{topic}', mode 'append')")
        self.sql(f"SELECT kafka.attach_sink('{view}', '{topic}_table')")
        self.stopping.wait(self.rng.uniform(5, 20))
        self.put_back()

    def _columns(self, view):
        return self.sql(f"SELECT string_agg(quote_ident(attname) || ' ' || format_type(atttypid, atttypmod), ', ' ORDER BY attnum)"
                        f" FROM pg_attribute WHERE attrelid = '{view}'::regclass AND attnum > 0 AND NOT attisdropped")[0][0]

    def _detach(self, view, sink, topic, drop):
        """Detaches a sink, and notes in the same transaction what it must have in the end."""
        if self.sql("SELECT to_regclass(%s) IS NOT NULL AND EXISTS (SELECT FROM kafka.sinks WHERE topic = to_regclass(%s))", (view, sink)) == [(True,)]:
            self.sql("BEGIN")
            self.sql(f"SELECT kafka.detach_sink('{view}', '{sink}')")
            self.sql(f"INSERT INTO detached SELECT '{topic}', false, to_jsonb(r) FROM {view} r")
            self.sql("COMMIT")
        if drop:
            self.sql(f"DROP MATERIALIZED VIEW IF EXISTS {view}")

    def _over(self):
        view, share = f"over_{self.number + 1}", self.rng.randrange(50)
        self._attach(view, f"CREATE MATERIALIZED VIEW {view} WITH (kafka.continuous) AS"
                           f" SELECT order_id, name, amount, paid_at FROM paid WHERE order_id % 50 = {share}")

    def _sink(self):
        self._attach("minutes")

    def _index(self):
        self.sql(f"CREATE INDEX chaos_index ON {self.rng.choice(['devices (n)', 'paid (paid_at)', 'latest (order_id)', 'places (region)'])}")

    def _partitions(self):
        """Events have no time to be late for: when a new partition is found does not matter to them."""
        count = self.load.partitions["events"]
        if count < 6 and self.rng.random() < 0.3:
            try:
                kv_kafka("add-partitions", "events", str(count + 1))
            except Failed:
                return
            self.load.partitions["events"] = count + 1


class Backup(Beside):
    """Copies of the running cluster; each is checked and started, and must stand still."""

    def __init__(self, servers, seed, pause):
        super().__init__(servers, seed, "backup", pause)
        self.directory = None

    def once(self):
        servers = self.servers
        self.directory = f"{servers.cluster}/copy"
        shutil.rmtree(self.directory, ignore_errors=True)
        try:
            servers.backup(self.directory)
        except Failed as failed:
            # the server was stopped or killed meanwhile
            self.lost += 1
            self.done -= 1
            return
        try:
            run(*servers.owner(), f"{servers.bindir}/pg_verifybackup", self.directory)
            self._check_copy()
        except Failed as failed:
            self.wrong.append(f"backup: {failed}")
        finally:
            shutil.rmtree(self.directory, ignore_errors=True)

    def _check_copy(self):
        servers = self.servers
        port = free_port()
        with open(f"{self.directory}/postgresql.auto.conf", "a") as file:
            # under the name of the others it would go on in their place
            file.write("kafka.instance = ''\nsynchronous_standby_names = ''\n")
        control = [*servers.owner(), f"{servers.bindir}/pg_ctl", "-D", self.directory]
        run(*control, "-l", f"{os.path.dirname(self.directory)}/copy.log", "-o", f"-p {port}", "-w", "-t", "120", "-s", "start", stdin=subprocess.DEVNULL)
        try:
            copy = psycopg2.connect(host="127.0.0.1", port=port, user="postgres", dbname="postgres")
            copy.autocommit = True
            with copy.cursor() as cursor:
                def value(query):
                    cursor.execute(query)
                    return cursor.fetchone()[0]

                wait("the copy to say why it stands still", lambda: "not the one that Kafka knows" in (value(
                    "SELECT string_agg(error, '') FROM kafka_state.processes() WHERE kind = 'supervisor'") or ""), 120)
                if value("SELECT count(*) FROM pg_stat_activity WHERE backend_type ~ 'kafka_views (worker|publisher)'"):
                    self.wrong.append("a copy runs workers or publishers")
                for name, one, other in SAME_IN_A_SNAPSHOT:
                    if value(f"SELECT to_regclass('{name}') IS NOT NULL") and value(differ(one, other)):
                        self.wrong.append(f"in a copy view {name} differs from its query over its view")
            copy.close()
        finally:
            run(*control, "-m", "immediate", "-w", "-s", "stop")


def free_port():
    import socket
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]
