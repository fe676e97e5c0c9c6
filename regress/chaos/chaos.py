#!/usr/bin/env python3
"""Chaos: faults and failovers at random, every few seconds, under steady load on all kinds of views, with backups, vacuum, readers and DDL beside.

`make chaos` runs it for TIME seconds (an hour). Every minute or so faults stop until all is applied and published, which may take
RECOVERY seconds (300) at most, and a line says what has happened so far. In the end every view is compared with its oracle and every sink with what
it must hold (world.py, compare.py); the last line counts faults, records, messages, duplicates and losses. The exit status is 0 only
where nothing is wrong.

SEED=... makes the same choices, though not at the same moments; RATE is the number of records a second (250); BROKERS=2 has two of them;
FAULTS=REGEX keeps to some kinds; HA=1 or 0 is with kafka.instance or without, LOSSY=1 or 0 with failovers that lose transactions or without them
(default: as the seed has it); TAMPER=1 shows at the end that each comparison can fail; KEEP=1 keeps the folder with all logs, which is kept after a failure too.
"""
import os
import random
import re
import shutil
import signal
import sys
import threading
import time
import traceback

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "random", "support"))
import psycopg2
from beside import Backup, Consumers, Definitions, Reader, Vacuum
from changes import Changes
from compare import Compare
from dead_letters import DeadLetters
from failover import Failover, Reserve
from faults import Faults
from fork import Fork
from harness import Failed, kv_kafka
from load import Load
from servers import Servers, create_topics, wait
from sessions import TOLERATED, Session, is_incomplete
from world import FACT_TOPICS, PIPELINES, SCHEMA, TOPICS, VIEWS, create_statements

BURST_S = 50
RECOVERY_S = int(os.environ.get("RECOVERY") or 300)
# so long a pipeline says that Kafka's answer cannot be before the broker has to read its log again
DOUBT_S = 60
OLD_ANSWER = ("SELECT count(*) FROM (SELECT publish_error FROM kafka.pipelines UNION ALL SELECT publish_error FROM kafka.topics) p"
              " WHERE publish_error ~ '^Kafka has (lost the position|forgotten)|^could not start transactions'")
STATE = ["kafka.pipelines", "(SELECT * FROM kafka.sinks WHERE error IS NOT NULL) s", "kafka.lag", "kafka_state.processes()", "kafka_state.transaction_batch",
         "(SELECT pid, state, wait_event_type, wait_event, backend_type, application_name, query FROM pg_stat_activity) a", "pg_prepared_xacts"]


class Chaos:
    def __init__(self, seed, seconds):
        self.seconds = seconds
        self.rng = random.Random(f"{seed}/faults")
        self.servers = Servers(int(os.environ.get("BROKERS") or 1))
        # what all members of a cluster share; a copy then goes on by itself, and must be told so otherwise
        ha = bool(int(os.environ.get("HA") or self.rng.randrange(2)))
        lossy = bool(int(os.environ.get("LOSSY") or self.rng.randrange(2)))
        print(f"{'with' if ha else 'without'} kafka.instance, failovers {'may' if lossy else 'do not'} lose transactions", flush=True)
        self.reserve = Reserve(self.servers, seed)
        self.failover = Failover(self.servers, self.reserve, ha, lossy)
        self.load = Load(seed, int(os.environ.get("RATE") or 250), seconds)
        self.faults = Faults(self.servers, self.rng, os.environ.get("FAULTS") or "", self.failover)
        self.sessions = [Session(self.servers, seed, number) for number in range(1, 5)]
        self.definitions = Definitions(self.servers, seed, self.load)
        self.changes = Changes(self.servers, seed)
        self.dead_letters = DeadLetters(self.servers, seed, not lossy)
        self.put_back = [self.changes, self.definitions, self.dead_letters, Fork(self.servers, seed, max(60, seconds / 15))]
        self.beside = [*self.put_back, Vacuum(self.servers, seed), Reader(self.servers, seed, 1), Reader(self.servers, seed, 2),
                       Consumers(self.servers, seed), self.reserve, Backup(self.servers, seed, max(20, seconds / 15))]
        self.last = self.longest = 0
        self.doubted_at = None
        self.old_answers = 0
        self.began = None
        self.good = False

    def play(self):
        """All of it; gives whether nothing was wrong."""
        self._open()
        self.began = time.monotonic()
        while time.monotonic() - self.began < self.seconds:
            self._burst()
            self._recover()
            self._say()
        return self._finish()

    def _open(self):
        self.servers.start("kafka.instance = 'chaos'\n" if self.failover.ha else "")
        create_topics({**TOPICS, **FACT_TOPICS, **{f"{name}_sink": 2 for name in VIEWS}})
        session = self.servers.connect("120s")
        with session.cursor() as cursor:
            cursor.execute(SCHEMA.replace("{broker}", os.environ["KAFKA_BROKER"]))
            self.load.begin(self.servers.dir)
            for statements in create_statements():
                cursor.execute(statements)
        session.close()
        for thread in [self.load, *self.sessions, *self.beside]:
            thread.start()

    def _burst(self):
        """Faults, some seconds apart."""
        until = time.monotonic() + min(BURST_S, self.began + self.seconds - time.monotonic())
        while time.monotonic() < until:
            time.sleep(self.rng.uniform(0.5, 7))
            self.faults.end_due()
            self.faults.one()
            if self.load.failure:
                raise Failed(self.load.failure)

    def _recover(self):
        """Waits until everything is applied and published again; raises where it is not in time."""
        self.changes.resting.set()
        self.faults.end_all()
        started = time.monotonic()
        for pipeline, views in PIPELINES.items():
            self._until(f"pipeline {pipeline} to recover", started, "SELECT kafka.wait_for_view(%s, interval '5 s')", (views[0].name,))
        last = self._until("the outbox", started, "SELECT array[coalesce(max(seq), 0)] FROM kafka_state.transaction_outbox")[0]
        self._until("transactions to be published", started, "SELECT NOT EXISTS (SELECT FROM kafka_state.transaction_outbox WHERE seq <= %s)", (last,))
        self.last = time.monotonic() - started
        self.longest = max(self.longest, self.last)
        self.changes.resting.clear()

    def _until(self, what, started, query, arguments=None):
        """Asks until the answer is true; gives it."""
        def answer():
            self._doubt()
            return self._ask(query, arguments)
        return wait(what, answer, max(1, RECOVERY_S - (time.monotonic() - started)))

    def _ask(self, query, arguments=None):
        try:
            return self.servers.rows(query, arguments)[0][0]
        except psycopg2.Error as error:
            if error.pgcode not in TOLERATED and not is_incomplete(error):
                raise
            return None

    def _doubt(self):
        """
        Restarts the brokers where Kafka (4.1.1) has loaded a part of __consumer_offsets, and so answers with old offsets until it loads them again.
        The pipelines say so and wait; with the right answer they go on.
        """
        if self._ask(OLD_ANSWER) == 0:
            self.doubted_at = None
            return
        self.doubted_at = self.doubted_at or time.monotonic()
        if time.monotonic() - self.doubted_at < DOUBT_S:
            return
        self.doubted_at = None
        self.old_answers += 1
        print("Kafka answers with old offsets: its brokers are restarted", flush=True)
        for broker in self.servers.brokers:
            self.servers.end_broker(broker, "stop")
            self.servers.start_broker(broker)

    def _say(self):
        total = sum(self.faults.counts.values())
        print(f"{time.monotonic() - self.began:5.0f} s: {total} faults, {sum(self.load.produced.values())} records,"
              f" {sum(s.done for s in self.sessions)} transactions ({sum(s.lost for s in self.sessions)} cut off), recovered in {self.last:.1f} s; "
              + ", ".join(f"{b.name} {b.done} ({b.lost})" for b in self.beside), flush=True)

    def _finish(self):
        """Ends all that goes on, waits for the rest, and compares."""
        self.load.finish()
        for thread in [*self.sessions, *self.beside]:
            thread.stopping.set()
        for thread in [*self.sessions, *self.beside]:
            thread.join(180)
            if thread.is_alive():
                raise Failed(f"{thread.name} does not end")
        self._put_right()
        self._recover()
        kv_kafka("settle", *[f"{name}_sink" for name in VIEWS], *FACT_TOPICS)
        compare = Compare(self.servers, self.load, self.failover.cuts)
        compare.read_topics()
        counts = compare.run()
        counts["differences"] += compare.verify()
        wrong = self._wrong()
        for line in wrong:
            print(f"WRONG: {line}")
        if os.environ.get("TAMPER"):
            unseen = compare.tampered()
            print(f"tampered with: {len(compare.list) - len(unseen)} of {len(compare.list)} comparisons notice")
            wrong += [f"no tampering makes the comparison fail: {name}" for name in unseen]
            print(*unseen, sep="\n")
        self._conclude(compare, counts, wrong)
        return not wrong and not any(counts.values())

    def _put_right(self):
        """What was cut off in the middle: DDL, two-phase commits."""
        for thread in [*self.put_back, *self.sessions]:
            thread.session = self.servers.connect("120s")
            thread.connected()
            if thread in self.put_back:
                thread.put_back()
            thread.close()
        # a key whose last transaction a failover has lost has its message
        self.servers.rows("INSERT INTO state SELECT k, nextval('versions') FROM generate_series(0, 19) k ON CONFLICT (k) DO UPDATE SET n = excluded.n")

    def _wrong(self):
        """What threads have found, errors that no fault explains, and what the servers' log must not have."""
        found = [line for thread in self.beside for line in thread.wrong]
        found += [line for thread in [*self.sessions, *self.beside] for line in thread.unexpected]
        bad = re.compile(r"TRAP:|PANIC:|terminated by signal (?!9:|15:)|(ERROR|FATAL):  XX\d\d\d|\bXX\d\d\d\b|exited with exit code [^01]")
        found += [f"server log: {line}" for line in self.servers.log() if bad.search(line)][:20]
        found += [f"server log: {line}" for line in self.servers.log(unless_lossy=True) if "lacks what was published from" in line][:20]
        return found

    def _conclude(self, compare, counts, wrong):
        print("faults: " + ", ".join(f"{name} {count}" for name, count in sorted(self.faults.counts.items())))
        print("changes: " + ", ".join(f"{name} {count}" for name, count in sorted(self.changes.counts.items())))
        print("records: " + ", ".join(f"{topic} {count}" for topic, count in self.load.produced.items()))
        print("messages: " + ", ".join(f"{topic} {count}" for topic, count in compare.messages.items() if not topic.startswith("detached")))
        print(f"beside: {sum(s.done for s in self.sessions)} transactions, {sum(s.lost for s in self.sessions)} cut off, "
              + ", ".join(f"{b.name} {b.done}" for b in self.beside)
              + f", {sum(topic.startswith('detached') for topic in compare.messages)} sinks attached and detached")
        print(f"{len(compare.list)} comparisons: {counts['differences']} differences, {len(wrong)} other faults; longest recovery {self.longest:.1f} s; "
              f"{self.old_answers} times Kafka had to be restarted for its old answers")
        print(f"{sum(self.faults.counts.values())} faults, {sum(self.load.produced.values())} records, {sum(compare.messages.values())} messages,"
              f" {counts['duplicates']} duplicates, {counts['losses']} losses", flush=True)

    def state(self):
        """What the engine says of itself, for the text of a failure."""
        for what in STATE:
            try:
                print(f"{what}:", *(f"    {row}" for row in self.servers.rows(f"SELECT * FROM {what}", timeout="20s")), sep="\n")
            except psycopg2.Error as error:
                print(f"{what}: {error}")


    def run(self):
        """Plays, ends the servers, and says how it went."""
        try:
            self.good = self.play()
        except (Failed, psycopg2.Error) as failed:
            print(f"FAILED: {failed}", flush=True)
            self.state()
            print("faults: " + ", ".join(f"{name} {count}" for name, count in sorted(self.faults.counts.items())))
        except Exception:
            traceback.print_exc()


def main():
    seed = int(os.environ.get("SEED") or random.SystemRandom().randrange(1 << 31))
    print(f"SEED={seed}", flush=True)
    # what ends it ends the servers too; the work is in another thread because one that waits for an answer of Postgres hears no signal
    for number in signal.SIGTERM, signal.SIGHUP:
        signal.signal(number, lambda *_: sys.exit(130))
    chaos = Chaos(seed, int(os.environ.get("TIME") or 3600))
    work = threading.Thread(target=chaos.run, daemon=True)
    try:
        work.start()
        work.join()
    finally:
        chaos.servers.end()
        if chaos.good and not os.environ.get("KEEP"):
            shutil.rmtree(chaos.servers.dir)
        else:
            print(f"logs: {chaos.servers.dir}")
        print(f"SEED={seed}: {'all is as it must be' if chaos.good else 'FAILED'}", flush=True)
        # threads may wait for answers that do not come
        os._exit(0 if chaos.good else 1)


main()
