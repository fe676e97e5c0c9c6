"""What is done to the processes: killed, ended, held, and what they need taken away for some seconds.

A fault is done by a function; one that lasts gives how long and what ends it. Whatever starts again does so here, before the next fault.
"""
import re
import signal
import threading
import time
from collections import Counter

import psycopg2
from harness import Failed, kv_kafka
from servers import signal_process, wait
from sessions import TOLERATED
from world import PIPELINES, VIEWS

OURS = {"worker": "kafka_views worker", "publisher": "kafka_views publisher", "supervisor": "kafka_views supervisor", "launcher": "kafka_views launcher"}
UNDEFINED_TABLE = "42P01"
SESSION = r"^postgres: postgres postgres 127\.0\.0\.1"


class Faults:
    def __init__(self, servers, rng, pattern, failover):
        self.servers, self.rng = servers, rng
        self.counts = Counter()
        self.lasting = []                # (when it ends, name, what ends it)
        self.kinds = {}
        for name, title in {**OURS, "backend": SESSION}.items():
            self.kinds[f"kill -9 of a {name}"] = lambda title=title: self._signal(title, signal.SIGKILL)
            self.kinds[f"SIGTERM to a {name}"] = lambda title=title: self._signal(title, signal.SIGTERM)
            self.kinds[f"SIGSTOP of a {name}"] = lambda title=title: self._hold(title)
        self.kinds["cancelled worker"] = lambda: self._signal(OURS["worker"], signal.SIGINT)
        self.kinds["kill -9 of the checkpointer"] = lambda: self._signal("postgres: checkpointer", signal.SIGKILL)
        self.kinds["kill -9 of the postmaster"] = self._kill_postmaster
        self.kinds["immediate restart"] = lambda: self._restart(signal.SIGQUIT)
        self.kinds["fast restart"] = lambda: self._restart(signal.SIGINT)
        self.kinds["kill -9 of a broker"] = lambda: self._end_broker("kill")
        self.kinds["stopped broker"] = lambda: self._end_broker("stop")
        self.kinds["SIGSTOP of a broker"] = self._hold_broker
        self.kinds["paused pipeline"] = self._pause
        self.kinds["locked view"] = self._lock
        self.kinds["sink that refuses"] = self._break_sink
        for name, kind in failover.kinds().items():
            self.kinds[name] = lambda kind=kind: not self._broker_is_away() and kind()
        self.kinds = {name: kind for name, kind in self.kinds.items() if re.search(pattern, name)}
        # the costly ones come less often
        self.weights = {name: 1 if re.search("broker|restart|postmaster|fork", name) else 2 for name in self.kinds}

    def one(self):
        """Does one at random; gives its name, or None where there was nothing to do it to."""
        name = self.rng.choices(list(self.kinds), [self.weights[name] for name in self.kinds])[0]
        try:
            done = self.kinds[name]()
        except psycopg2.Error as error:
            # a view that it names may be called otherwise at the moment
            if error.pgcode not in TOLERATED | {UNDEFINED_TABLE}:
                raise
            return None
        if done is False:
            return None
        if done is not None:
            seconds, end = done
            self.lasting.append((time.monotonic() + seconds, name, end))
        self.counts[name] += 1
        return name

    def end_due(self):
        """Ends what has lasted long enough, brokers first; what cannot be ended yet, because something else is away, stays."""
        for lasting in sorted(self.lasting, key=lambda lasting: "broker" not in lasting[1]):
            if lasting[0] <= time.monotonic() and lasting[2]() is not False:
                self.lasting.remove(lasting)

    def end_all(self):
        self.lasting = [(0, name, end) for _, name, end in self.lasting]
        wait("faults to end", lambda: self.end_due() or not self.lasting, 300)

    def _signal(self, title, number):
        found = self.servers.processes(title)
        return None if found and signal_process(self.rng.choice(found), number) else False

    def _hold(self, title):
        """Some seconds; the publisher sometimes for longer than its transactions in Kafka may take."""
        found = self.servers.processes(title)
        if not found:
            return False
        pid = self.rng.choice(found)
        seconds = self.rng.choice([1, 3, 8, 25])
        signal_process(pid, signal.SIGSTOP)
        # by a timer too: it may hold a lock of Postgres for which the next fault's statement waits
        threading.Timer(seconds, let_go, [pid]).start()
        return seconds, lambda: let_go(pid)

    def _let_go(self):
        """A process that is held could not be stopped with the others."""
        for pid in self.servers.processes(""):
            let_go(pid)

    def _kill_postmaster(self):
        self._let_go()
        self.servers.kill_cluster()
        self.servers.start_cluster()

    def _restart(self, how):
        # a postmaster that is asked to end fast before the redo of a crash begins, when its checkpointer runs already, waits for that one for
        # ever (PostgreSQL 15 without any extension): so it must have recovered
        if how == signal.SIGINT:
            self.servers.rows("SELECT")
        self._let_go()
        self.servers.restart_cluster(how)

    def _end_broker(self, action):
        broker = self.rng.choice(self.servers.brokers)
        if self._broker_is_away():
            return False
        self.servers.end_broker(broker, action)
        return self.rng.choice([0, 2, 10]), lambda: self.servers.start_broker(broker)

    def _hold_broker(self):
        if self._broker_is_away():
            return False
        pid = self.servers.broker_pid(self.rng.choice(self.servers.brokers))
        signal_process(pid, signal.SIGSTOP)
        return self.rng.choice([1, 3, 8]), lambda: let_go(pid)

    def _pause(self):
        pipeline = self.rng.choice(list(PIPELINES))
        self.servers.rows("SELECT kafka.pause(%s)", (pipeline,))
        return self.rng.choice([1, 4, 15]), lambda: self._resume(pipeline)

    def _resume(self, pipeline):
        try:
            self.servers.rows("SELECT kafka.resume(%s)", (pipeline,))
        except psycopg2.Error as error:
            if error.pgcode not in TOLERATED:
                raise
            return False

    def _lock(self):
        """A table that the worker, or ordinary transactions, write; or the row of the pipeline, which everybody locks."""
        what = self.rng.choice([name for name, view in VIEWS.items() if view.stored] + ["fact", "kafka_state.position", "kafka_state.transaction_outbox"])
        mode = self.rng.choice(["ACCESS EXCLUSIVE", "SHARE", "SHARE ROW EXCLUSIVE"])
        session = self.servers.connect("10s", "locker")
        session.autocommit = False
        session.cursor().execute(f"LOCK TABLE {what} IN {mode} MODE")
        return self.rng.choice([1, 4, 12]), session.close

    def _break_sink(self):
        """
        A topic that takes nothing: every message is too large for it. Not so the markers that end a transaction: a broker (4.1) that
        cannot write one of these never ends it.
        """
        topic = f"{self.rng.choice(list(VIEWS))}_sink"
        if not self._configure(topic, "max.message.bytes=90"):
            return False
        return self.rng.choice([2, 10]), lambda: self._configure(topic)

    def _configure(self, topic, *settings):
        """Gives a topic these settings besides its own; whether the brokers were there to do it."""
        if self._broker_is_away():
            return False
        try:
            kv_kafka("configure", topic, "retention.ms=-1", *settings)
            return True
        except Failed:
            return False

    def _broker_is_away(self):
        return any(name.endswith("broker") for _, name, _ in self.lasting)


def let_go(pid):
    """Lets a process go on that was held, if it is still there."""
    signal_process(pid, signal.SIGCONT)
