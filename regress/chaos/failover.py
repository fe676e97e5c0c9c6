"""Copies of the cluster that take its place: synchronous standbys, backups with all of its WAL, backups without, and copies of a predecessor.

`Reserve` makes the copies, beside the load; `Failover` kills the cluster and has one of them go on in its place, as the manual says. What that keeps
is not the same for all of them, and the comparison is told so by a `Cut`: where the topics of ordinary transactions ended
at that moment, and whether what had been committed last is lost. A standby under `kafka.instance` makes no cut: it goes on exactly.
"""
import os
import shutil
import time
from dataclasses import dataclass

import psycopg2
from beside import Beside
from harness import Failed, kv_kafka
from servers import run, wait
from world import FACT_TOPICS, PIPELINES

COPIES = 3


@dataclass
class Copy:
    directory: str          # of a cluster: data and log are in it
    generation: int         # how many failovers there had been when it was made
    forks: int              # how often the names in Kafka had been changed
    standby: bool


@dataclass
class Cut:
    lossy: bool             # ordinary transactions of the last moments are gone, and their messages are not
    ends: dict              # {(topic, partition): offset}, behind which a transaction may be open
    at_ms: int


class Reserve(Beside):
    """Keeps some copies, the oldest of which goes now and then; a standby is synchronous until it is needed."""

    def __init__(self, servers, seed):
        super().__init__(servers, seed, "reserve", 8)
        self.copies = []
        self.number = 0

    def once(self):
        servers = self.servers
        if len(self.copies) >= COPIES:
            if self.rng.random() < 0.7:
                return
            self.discard(self.take(lambda copy: True))
        if not any(copy.standby for copy in self.copies):
            # nobody is waited for any more
            self.sql("ALTER SYSTEM RESET synchronous_standby_names")
            self.sql("SELECT pg_reload_conf()")
        self.number += 1
        standby = self.rng.random() < 0.4 and not any(copy.standby for copy in self.copies)
        copy = Copy(f"{servers.dir}/copy{self.number}", servers.generation, servers.forks, standby)
        try:
            self._make(copy)
            if copy.generation != servers.generation:
                raise Failed("the server has been replaced meanwhile")
            self.copies.append(copy)
        except Failed:
            # the server was stopped or killed meanwhile
            self.lost += 1
            self.done -= 1
            self.discard(copy)
        except psycopg2.Error:
            self.discard(copy)
            raise

    def _make(self, copy):
        servers = self.servers
        servers.make_copy(copy.directory, *(["-R"] if copy.standby else []))
        if copy.standby:
            servers.configure(copy.directory, cluster_name="standby")
            servers.start_copy(copy.directory)
            self.sql("ALTER SYSTEM SET synchronous_standby_names = 'standby'")
            self.sql("SELECT pg_reload_conf()")
            wait("the standby to be synchronous", lambda: self.sql("SELECT sync_state FROM pg_stat_replication") == [("sync",)], 60)

    def discard(self, copy):
        if copy:
            self.servers.end_cluster(copy.directory)
            shutil.rmtree(copy.directory, ignore_errors=True)

    def take(self, wanted):
        """Gives a copy of which wanted is true and no longer has it, or None."""
        found = next((copy for copy in list(self.copies) if wanted(copy)), None)
        if found:
            self.copies.remove(found)
        return found


class Failover:
    def __init__(self, servers, reserve, ha, lossy):
        self.servers, self.reserve = servers, reserve
        self.ha = ha                     # all have the same kafka.instance, so a copy need not be adopted
        self.lossy = lossy
        self.cuts = []

    def kinds(self):
        kinds = {"failover to a standby": lambda: self._fail_over(self._is_standby, False),
                 "failover to a backup with all WAL": lambda: self._fail_over(self._has_wal, False)}
        if self.lossy:
            kinds["failover to an old backup"] = lambda: self._fail_over(lambda copy: self._is_old(copy) and copy.generation == self.servers.generation, True)
            kinds["failover to a copy of the predecessor"] = lambda: self._fail_over(lambda copy: self._is_old(copy) and copy.generation < self.servers.generation, True)
        kinds["new names by fork"] = self._fork
        return kinds

    def _fork(self):
        """
        What went out is noted before, or nobody would know of it under the new names: False where that is not so in time. A copy that is older knows
        nothing of these, and would publish again what has gone out under them: it is of no use any more.
        """
        for views in PIPELINES.values():
            if self.servers.rows("SELECT kafka.wait_for_view(%s, interval '5 s')", (views[0].name,)) != [(True,)]:
                return False
        if self.servers.rows("SELECT published FROM kafka_state.transaction_batch") != [(True,)]:
            return False
        self.servers.forks += 1
        self.servers.rows("SELECT kafka.fork()")

    def _is_old(self, copy):
        return not copy.standby and copy.forks == self.servers.forks

    def _is_standby(self, copy):
        return copy.standby

    def _has_wal(self, copy):
        """The cluster still has the segments that it wrote since the backup began."""
        if copy.standby or copy.generation != self.servers.generation:
            return False
        with open(f"{copy.directory}/data/backup_label") as label:
            first = label.readline().rsplit(" ", 1)[1].strip().rstrip(")")
        return os.path.exists(f"{self.servers.data}/pg_wal/{first}")

    def _fail_over(self, wanted, lossy):
        """Gives False where there is no such copy."""
        copy = self.reserve.take(wanted)
        if copy is None:
            return False
        servers = self.servers
        before = servers.cluster
        replaced = copy.generation < servers.generation
        servers.kill_cluster()
        if not (copy.standby and self.ha):
            self.cuts.append(Cut(lossy, ends_of(FACT_TOPICS), round(time.time() * 1000)))
        if copy.standby:
            servers.promote(copy.directory)
        else:
            servers.configure(copy.directory, restore_command="false" if lossy else f"cp {before}/data/pg_wal/%f %p")
            open(f"{copy.directory}/data/recovery.signal", "w").close()
        servers.succeed(copy.directory, lossy)
        self._adopt(replaced)
        for pipeline in PIPELINES:
            # a pause that it was copied in
            servers.rows("SELECT kafka.resume(%s)", (pipeline,))
        self.reserve.discard(self.reserve.take(self._is_standby))
        shutil.rmtree(f"{before}/data", ignore_errors=True)

    def _adopt(self, replaced):
        """As the manual says; replaced: another server has been in its place."""
        servers = self.servers
        if self.ha and replaced:
            wait("the copy to find out that it is replaced",
                 lambda: servers.rows("SELECT count(*) FROM kafka.pipelines WHERE publish_error_hint ~ 'take_over'")[0][0] > 0, 120)
        if not self.ha or replaced:
            servers.rows("SELECT kafka.adopt(take_over => %s)", (replaced,), "120s")


def ends_of(topics):
    """The ends of topics, once what was on its way has arrived: as they were the last time."""
    before = None

    def ends():
        nonlocal before
        try:
            found = {(topic, int(line.split("\t")[0])): int(line.split("\t")[2]) for topic in topics for line in kv_kafka("end", topic).splitlines()}
        except Failed:
            return None
        same, before = found == before, found
        return found if same else None
    return wait("the ends of topics", ends, 180)
