"""The producer of a topic, which outlives brokers and its own process: each line is in the topic once, a partition in the order of writing.

An idempotent producer can be lost with its broker: Kafka may refuse what it sends again as out of order, for good. What it has
delivered is then the first so many lines of each partition, because none is accepted before the one in front of it. So what is
there is counted, and another producer goes on behind it.
"""
import subprocess
from collections import defaultdict

from harness import Failed, kv_kafka
from servers import wait

AGAIN_S = 180


class Producer:
    def __init__(self, topic, directory):
        self.topic = topic
        self.output = f"{directory}/{topic}.produce.out"
        self.lines = defaultdict(list)      # of each partition, all of them
        self.count = self.lost = 0
        self.process = self._start()

    def write(self, partition, key, text):
        line = f"{partition}\t\\N\t{key}\t{text}\n"
        self.lines[partition].append(line)
        self.count += 1
        self._send([line])

    def flush(self):
        """Has what was written sent, by another process if this one has ended."""
        self._send([], flush=True)

    def finish(self):
        """Ends it once all is acknowledged."""
        for _ in range(10):
            try:
                self.process.stdin.close()
            except BrokenPipeError:
                pass
            if self.process.wait(AGAIN_S) == 0:
                return
            self._go_on()
        raise Failed(f"the producer of {self.topic} fails again and again: {self._last_words()}")

    def _start(self):
        # they say much while a broker is away
        with open(self.output, "a") as output:
            return subprocess.Popen(["kv_kafka", "produce", self.topic, "--copy", "--full"], stdin=subprocess.PIPE, stderr=output, text=True)

    def _send(self, lines, flush=False):
        try:
            for line in lines:
                self.process.stdin.write(line)
            if flush:
                self.process.stdin.flush()
            if self.process.poll() is None:
                return
        except BrokenPipeError:
            pass
        self._go_on()

    def _go_on(self):
        """Starts another one behind what the topic has."""
        self.process.kill()
        self.process.wait()
        try:
            self.process.stdin.close()
        except BrokenPipeError:
            pass
        self.lost += 1
        print(f"the producer of {self.topic} is lost, and another one goes on: {self._last_words()}", flush=True)
        ends = self._settled_ends()
        self.process = self._start()
        self._send([line for partition, lines in self.lines.items() for line in lines[ends.get(partition, 0):]])

    def _last_words(self):
        with open(self.output, errors="replace") as output:
            return ([line for line in output.read().splitlines() if line.startswith("kv_kafka:")] or ["nothing"])[-1]

    def ends(self):
        """The number of records of each partition."""
        return {int(partition): int(high) for partition, _, high in (line.split("\t") for line in kv_kafka("end", self.topic).splitlines())}

    def _settled_ends(self):
        """The same, once what was on its way has arrived: as many as the last time."""
        before = None

        def ends():
            nonlocal before
            try:
                found = self.ends()
            except Failed:
                return None
            same, before = found == before, found
            return found if same else None
        return wait(f"the end of {self.topic}", ends, AGAIN_S)
