"""Ordinary transactions of several sessions: output triggers and INSERTs into topics, with savepoints, exceptions, deferred triggers,
rollbacks and two-phase commits, over connections that are lost at any moment.

A session that loses its connection in COMMIT does not know what became of it, so tables are the truth: a message and its row are
written together. The numbers of a session only grow, so its messages have an order.
"""
import random
import threading
import time

import psycopg2

# what faults may do to any statement: connections end, servers start and stop, deadlocks and timeouts happen
LOST = {None, "57P01", "57P02", "57P03", "57P05", "08000", "08001", "08003", "08006", "53300"}
# ... and a successor takes nothing before its recovery has ended
TOLERATED = LOST | {"40001", "40P01", "55P03", "57014", "25006"}


def is_incomplete(error):
    """A view is not read or given a sink while it may be behind what was published, after a failover."""
    return error.pgcode == "55000" and "published from" in str(error)


class Repeating(threading.Thread):
    """Does something again and again, over a connection that is made again when it is lost; notes errors that no fault explains."""

    def __init__(self, servers, seed, name, pause, timeout="60s"):
        super().__init__(daemon=True, name=name)
        self.servers, self.pause, self.timeout = servers, pause, timeout
        self.rng = random.Random(f"{seed}/{name}")
        self.stopping = threading.Event()
        self.done = self.lost = 0
        self.unexpected = []
        self.session = None

    def run(self):
        while not self.stopping.wait(self.rng.uniform(0.2, 1.8) * self.pause):
            try:
                if self.session is None or self.session.closed:
                    self.session = self.servers.connect(self.timeout, self.name)
                    self.connected()
                self.once()
                self.done += 1
            except psycopg2.Error as error:
                self.lost += 1
                if error.pgcode not in TOLERATED and not self.forgives(error):
                    self.unexpected.append(f"{self.name}: {error.pgcode} {error}".strip())
                self.close()
            except Exception as error:
                self.unexpected.append(f"{self.name}: {error!r}")
                self.close()
        self.close()

    def close(self):
        if self.session is not None:
            self.session.close()
        self.session = None

    def connected(self):
        """After the connection was made, and perhaps another one was lost."""

    def once(self):
        raise NotImplementedError

    def forgives(self, error):
        return False

    def sql(self, statement, arguments=None):
        with self.session.cursor() as cursor:
            cursor.execute(statement, arguments)
            return cursor.fetchall() if cursor.description else []


class Session(Repeating):
    """Writes with its own number; what goes through a two-phase commit under another, so that both have an order."""

    def __init__(self, servers, seed, number):
        super().__init__(servers, seed, f"session {number}", 0.12)
        self.number, self.prepared = number, f"chaos {number}"
        self.n = 0

    def connected(self):
        self._end_prepared()

    def once(self):
        kind = self.rng.choice([self._facts, self._facts, self._direct, self._deferred, self._states, self._exceptions, self._mixed, self._two_phases])
        self.sql("BEGIN")
        kind()
        if kind != self._two_phases:
            # a moment in which it can be ended from outside
            if self.rng.random() < 0.1:
                time.sleep(self.rng.random())
            self.sql("ROLLBACK" if self.rng.random() < 0.15 else "COMMIT")

    def _next(self):
        self.n += 1
        return self.n

    def _insert(self, table, session, rows=1, topic=None):
        for _ in range(rows):
            values = (session, self._next())
            self.sql(f"INSERT INTO {table} VALUES (%s, %s)", values)
            if topic:
                self.sql(f"INSERT INTO {topic} VALUES (%s, %s)", values)

    def _facts(self):
        """Savepoints, some of them rolled back, some released, one in the other."""
        self._insert("fact", self.number, self.rng.randrange(1, 4))
        self.sql("SAVEPOINT a")
        self._insert("fact", self.number, self.rng.randrange(3))
        self.sql("SAVEPOINT b")
        self._insert("fact", self.number)
        self.sql(self.rng.choice(["ROLLBACK TO b", "RELEASE b", "ROLLBACK TO a"]))
        self._insert("fact", self.number)

    def _direct(self):
        self._insert("direct_fact", self.number, self.rng.randrange(1, 4), "direct")

    def _deferred(self):
        self._insert("deferred_fact", self.number, self.rng.randrange(1, 3))
        if self.rng.random() < 0.3:
            self.sql("SET CONSTRAINTS ALL IMMEDIATE")

    def _states(self):
        """Versions grow with the order in which transactions hold the key."""
        key = self.rng.randrange(20)
        self.sql("SELECT pg_advisory_xact_lock(%s)", (key,))
        for _ in range(self.rng.randrange(1, 3)):
            self.sql("INSERT INTO state VALUES (%s, nextval('versions')) ON CONFLICT (k) DO UPDATE SET n = excluded.n", (key,))
        if self.rng.random() < 0.2:
            self.sql("DELETE FROM state WHERE k = %s", (key,))

    def _exceptions(self):
        """Subtransactions that fail, and those that do not, in PL/pgSQL."""
        first, self.n = self.n + 1, self.n + 20
        self.sql(f"""DO $$ BEGIN FOR i IN {first} .. {self.n} LOOP
            BEGIN
                INSERT INTO fact VALUES ({self.number}, i); INSERT INTO direct VALUES ({self.number}, i); INSERT INTO direct_fact VALUES ({self.number}, i);
                IF i % 3 = 0 THEN RAISE EXCEPTION 'this one not'; END IF;
            EXCEPTION WHEN raise_exception THEN NULL;
            END;
        END LOOP; END $$""")

    def _mixed(self):
        for table, topic in ("fact", None), ("direct_fact", "direct"), ("deferred_fact", None):
            self._insert(table, self.number, 1, topic)

    def _two_phases(self):
        other = 100 + self.number
        self._insert("fact", other, self.rng.randrange(1, 4))
        self._insert("direct_fact", other, 1, "direct")
        self._insert("deferred_fact", other)
        self.sql("PREPARE TRANSACTION %s", (self.prepared,))
        time.sleep(self.rng.random() * 0.5)
        self._end_prepared()

    def _end_prepared(self):
        """A transaction that is prepared outlives the connection and the server; here it ends one way or the other."""
        if self.sql("SELECT gid FROM pg_prepared_xacts WHERE gid = %s", (self.prepared,)):
            self.sql(("COMMIT" if self.rng.random() < 0.8 else "ROLLBACK") + " PREPARED %s", (self.prepared,))
