"""The broker and the cluster of the chaos: starting and killing them, their processes by title, sessions, topics.

Why it exists: faults need processes that may not answer any more, so they are found in /proc and not by asking. The scripts of the
repository start and kill; everything is in one temporary folder.
"""
import os
import re
import shutil
import signal
import subprocess
import tempfile
import time

import psycopg2
from harness import Failed, kv_kafka

HERE = os.path.realpath(os.path.join(os.path.dirname(__file__), "..", ".."))
# with the code of each error; no memory for waiting long; a worker takes some of its work at once, as the machine has other things to do
CONF = """
log_line_prefix = '%m [%p] %b %e %q%a '
log_error_verbosity = verbose
max_prepared_transactions = 20
wal_level = replica
max_wal_senders = 8
wal_keep_size = '1GB'
jit = off
deadlock_timeout = 500ms
kafka.idle_timeout = 0
kafka.batch_interval = '300ms'
"""


def run(*command, **options):
    done = subprocess.run(command, capture_output=True, text=True, **options)
    if done.returncode != 0:
        raise Failed(f"{' '.join(command)}: {done.stdout}{done.stderr}")
    return done.stdout


class Servers:
    def __init__(self, brokers):
        self.dir = tempfile.mkdtemp(prefix="kafka_views_chaos.")
        os.chmod(self.dir, 0o755)
        self.bindir = run(os.environ.get("PG_CONFIG", "pg_config"), "--bindir").strip()
        os.environ["PATH"] = f"{HERE}/regress/tools:{self.bindir}:{os.environ['PATH']}"
        self.brokers = [f"{self.dir}/broker{number + 1}" for number in range(brokers)]
        self.clusters = [f"{self.dir}/cluster"]      # the one that runs is the last; of its predecessors only the logs are there
        self.lossy = [False]             # whether each of them was behind Kafka when it began
        self.forks = 0                   # how often kafka.fork() was called, or may have been
        self.port = None

    @property
    def cluster(self):
        return self.clusters[-1]

    @property
    def data(self):
        return f"{self.cluster}/data"

    @property
    def generation(self):
        return len(self.clusters) - 1

    def start(self, settings):
        self._write("properties", "broker.session.timeout.ms=4000\n" + ("default.replication.factor=2\noffsets.topic.replication.factor=2\ntransaction.state.log.replication.factor=2\n"
                    "min.insync.replicas=1\n" if len(self.brokers) > 1 else ""))
        self._write("conf", CONF + settings)
        os.environ.update(KAFKA_PROPERTIES=f"{self.dir}/properties", CLUSTER_CONF=f"{self.dir}/conf")
        addresses = []
        for broker in self.brokers:
            addresses.append(self.start_broker(broker))
            os.environ["KAFKA_JOIN"] = self.brokers[0]
        os.environ["KAFKA_BROKER"] = ",".join(addresses)
        self.start_cluster()

    def _write(self, name, text):
        with open(f"{self.dir}/{name}", "w") as file:
            file.write(text)

    def _script(self, name, action, directory):
        # to a file: a pipe would stay open as long as what is started runs
        path = f"{self.dir}/{name}.{action}.out"
        with open(path, "w+") as output:
            done = subprocess.run([f"{HERE}/scripts/{name}", action, directory], stdin=subprocess.DEVNULL, stdout=output, stderr=output)
            output.seek(0)
            text = output.read()
        if done.returncode != 0:
            raise Failed(f"scripts/{name} {action} {directory}: {text}")
        return text.strip()

    def start_broker(self, broker):
        return self._script("broker", "start", broker)

    def end_broker(self, broker, action):
        """action: stop or kill."""
        self._script("broker", action, broker)

    def broker_pid(self, broker):
        with open(f"{broker}/pid") as file:
            return int(file.read())

    def start_cluster(self):
        self.port = int(self._script("cluster", "start", self.cluster).rsplit(":", 1)[1])

    def kill_cluster(self):
        # a process that is held would not end
        for pid in self.processes(""):
            signal_process(pid, signal.SIGCONT)
        self._script("cluster", "kill", self.cluster)

    def backup(self, directory, *options):
        run(*self.owner(), f"{self.bindir}/pg_basebackup", "-D", directory, "-h", "127.0.0.1", "-p", str(self.port), "-U", "postgres", "-X", "stream", "-c", "fast",
            *options)

    def make_copy(self, directory, *options):
        """A base backup in a folder of its own, to be started as a cluster of its own."""
        os.mkdir(directory)
        if os.getuid() == 0:
            shutil.chown(directory, "postgres")
        self.backup(f"{directory}/data", *options)
        self.configure(directory, synchronous_standby_names="", unix_socket_directories=directory)

    def configure(self, directory, **settings):
        """Settings of a copy, which also take the place of those by ALTER SYSTEM that it has come with."""
        with open(f"{directory}/data/postgresql.auto.conf", "a") as file:
            file.writelines(f"{name} = '{value}'\n" for name, value in settings.items())

    def start_copy(self, directory):
        return int(self._script("cluster", "start", directory).rsplit(":", 1)[1])

    def promote(self, directory):
        run(*self.owner(), f"{self.bindir}/pg_ctl", "-D", f"{directory}/data", "-w", "-t", "120", "-s", "promote")

    def succeed(self, directory, lossy):
        """A copy goes on in place of the cluster, which has ended; one that is not yet promoted is waited for."""
        with open(f"{directory}/port" if os.path.exists(f"{directory}/port") else os.devnull) as file:
            self.port = int(file.read() or 0)
        self.clusters.append(directory)
        self.lossy.append(lossy)
        if not self.port:
            self.start_cluster()
        wait("the end of recovery", lambda: self.rows("SELECT NOT pg_is_in_recovery()")[0][0], 180)

    def end_cluster(self, directory):
        """Kills a cluster if it runs."""
        if os.path.exists(f"{directory}/data"):
            self._script("cluster", "kill", directory)

    def restart_cluster(self, how):
        """Stops the cluster as pg_ctl does with a signal, and starts it."""
        os.kill(self.postmaster(), how)
        wait("the cluster to stop", lambda: not self.processes(""), 120)
        self.start_cluster()

    def postmaster(self):
        with open(f"{self.data}/postmaster.pid") as file:
            return int(file.readline())

    def processes(self, pattern):
        """The pids of the cluster whose title matches; the postmaster has its command line for one."""
        found = []
        for directory in os.listdir("/proc"):
            if directory.isdigit():
                try:
                    if os.readlink(f"/proc/{directory}/cwd") == self.data:
                        with open(f"/proc/{directory}/cmdline") as file:
                            if re.search(pattern, file.read().replace("\0", " ")):
                                found.append(int(directory))
                except OSError:
                    pass
        return sorted(found)

    def connect(self, timeout="60s", name="chaos", **options):
        """A session that commits each statement; statements that hang for long are errors."""
        session = psycopg2.connect(host="127.0.0.1", port=self.port, user="postgres", dbname="postgres", application_name=name, connect_timeout=10,
                                   options=f"-c statement_timeout={timeout} -c timezone=UTC -c client_min_messages=warning", **options)
        session.autocommit = True
        return session

    def rows(self, query, arguments=None, timeout="60s"):
        """The rows of a query, in a session of its own."""
        session = self.connect(timeout)
        try:
            with session.cursor() as cursor:
                cursor.execute(query, arguments)
                return cursor.fetchall() if cursor.description else []
        finally:
            session.close()

    def owner(self):
        """The words before a command that run it as the owner of the cluster, who is not root."""
        return ["setpriv", "--reuid=postgres", "--regid=postgres", "--init-groups", "env", f"HOME={self.dir}"] if os.getuid() == 0 else []

    def log(self, unless_lossy=False):
        """The lines of all logs; unless_lossy: of those who were not behind Kafka."""
        lines = []
        for directory, lossy in zip(self.clusters, self.lossy):
            if not (lossy and unless_lossy):
                with open(f"{directory}/log", errors="replace") as file:
                    lines += file.read().splitlines()
        return lines

    def end(self):
        for pid in self.processes(""):
            # a backend in the middle of a long query would not notice that the postmaster has gone
            signal_process(pid, signal.SIGKILL)
        copies = [f"{self.dir}/{name}" for name in os.listdir(self.dir) if name.startswith("copy") and os.path.exists(f"{self.dir}/{name}/data")]
        for name, directory in [("cluster", directory) for directory in {self.cluster, *copies}] + [("broker", broker) for broker in self.brokers]:
            try:
                self._script(name, "kill", directory)
            except Failed as failed:
                print(failed)


def signal_process(pid, number):
    """Sends a signal; whether the process was there."""
    try:
        os.kill(pid, number)
        return True
    except ProcessLookupError:
        return False


def wait(what, condition, seconds):
    """Waits for a condition, and gives it; raises where it does not come true in time."""
    until = time.monotonic() + seconds
    while True:
        result = condition()
        if result:
            return result
        if time.monotonic() > until:
            raise Failed(f"gave up waiting for {what} after {seconds} s")
        time.sleep(0.1)


def create_topics(topics):
    for topic, partitions in topics.items():
        kv_kafka("create", topic, str(partitions), "retention.ms=-1")
