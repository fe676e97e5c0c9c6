"""The steady load: records of all topics, a producer each (producer.py), out of order by less than any grace.

compare.py holds the topics to what is counted here.
"""
import json
import heapq
import random
import threading
import time
from datetime import datetime, timedelta, timezone

from harness import Failed
from producer import Producer
from servers import wait
from world import BAD, CUSTOMERS, DEVICES, DISORDER_S, KINDS, LAST_STEP_S, REGIONS, SHARES, SPEED, TOPICS

TICK_S = 0.2


class Load(threading.Thread):
    def __init__(self, seed, rate, seconds):
        super().__init__(daemon=True)
        self.rng = random.Random(f"{seed}/load")
        self.rate = rate
        # event times are in the past for as long as it lasts
        self.now = time.time() - SPEED * (seconds + 7200) - 2 * LAST_STEP_S
        self.partitions = dict(TOPICS)
        self.producers = {}
        self.orders = self.payments = self.events = self.version = 0
        self.due = []                    # payments, by the time at which they are made
        self.stopping = threading.Event()
        self.failure = None

    def begin(self, directory):
        """Starts the producers, and gives the tables their first rows, which are there before a stream's first row looks them up."""
        for topic in TOPICS:
            self.producers[topic] = Producer(topic, directory)
        for customer in range(CUSTOMERS):
            self._customer(customer)
        for region in range(REGIONS):
            self._region(region)
        for topic, rows in ("customers", CUSTOMERS), ("regions", REGIONS):
            self.producers[topic].flush()
            wait(f"the first rows of {topic}", lambda: sum(self.producers[topic].ends().values()) == rows, 60)

    @property
    def produced(self):
        """The number of records of each topic."""
        return {topic: producer.count for topic, producer in self.producers.items()}

    def run(self):
        try:
            before = time.monotonic()
            while not self.stopping.wait(TICK_S):
                now = time.monotonic()
                self._tick(now - before)
                before = now
            self._end()
        except Exception as error:
            self.failure = f"the load has ended: {error!r}"

    def finish(self):
        """Writes the last records, and waits until all are acknowledged."""
        self.stopping.set()
        self.join()
        if self.failure:
            raise Failed(self.failure)

    def _tick(self, seconds):
        rng = self.rng
        self.now += seconds * SPEED
        for _ in range(self._some(0.4 * self.rate * seconds)):
            self._order()
        while self.due and self.due[0][0] <= self.now:
            _, _, order, at = heapq.heappop(self.due)
            self._payment(order, at)
        for _ in range(self._some(0.25 * self.rate * seconds)):
            self._event()
        for _ in range(self._some(0.01 * self.rate * seconds)):
            self._customer(rng.randrange(CUSTOMERS))
        for _ in range(self._some(0.002 * self.rate * seconds)):
            self._region(rng.randrange(REGIONS))
        for producer in self.producers.values():
            producer.flush()

    def _some(self, mean):
        """About so many, as events that know nothing of each other come: Poisson for small means, near enough for others."""
        return sum(self.rng.random() < mean / 100 for _ in range(100)) if mean < 50 else round(self.rng.gauss(mean, mean ** 0.5))

    def _write(self, topic, partition, key, value):
        text = value if isinstance(value, str) else json.dumps(value)
        self.producers[topic].write(partition, key, text)

    def _time(self, at, number):
        """A time of its own for each record of a key: seconds are the event's, microseconds its number."""
        moment = datetime.fromtimestamp(int(at), timezone.utc) + timedelta(microseconds=number % 1000000)
        return moment.isoformat()

    def _disorder(self):
        return self.rng.random() * DISORDER_S if self.rng.random() < 0.3 else self.rng.random()

    def _order(self):
        rng = self.rng
        self.orders += 1
        customer, at = rng.randrange(CUSTOMERS), self.now - self._disorder()
        self._write("orders", customer % 2, customer, {"order_id": self.orders, "customer_id": customer, "amount": rng.randrange(1000) / 4,
                                                       "created_at": self._time(at, self.orders)})
        # one in ten is never paid, some twice, some too late
        for _ in range(rng.choices([0, 1, 2], [10, 85, 5])[0]):
            paid_at = at + (rng.random() * 300 if rng.random() < 0.97 else 900)
            heapq.heappush(self.due, (paid_at + self._disorder(), rng.random(), self.orders, paid_at))

    def _payment(self, order, at):
        self.payments += 1
        self._write("payments", self.payments % 2, self.payments, {"payment_id": self.payments, "order_id": order, "paid": self.rng.randrange(1000) / 4,
                                                                   "paid_at": self._time(at, self.payments)})

    def _event(self):
        rng = self.rng
        self.events += 1
        device = rng.randrange(DEVICES)
        event = {"event_id": self.events, "device": device, "kind": rng.choices(KINDS, SHARES)[0], "value": rng.randrange(300), "at": self._time(self.now, self.events)}
        self._write("events", rng.randrange(self.partitions["events"]), device, f"{BAD}{self.events}" if rng.random() < 0.003 else event)

    def _customer(self, customer):
        self.version += 1
        self._write("customers", customer % 2, customer, {"name": f"c{customer}", "region_id": customer % REGIONS, "version": self.version})

    def _region(self, region):
        self.version += 1
        gone = self.version > 1000 and self.rng.random() < 0.2
        self._write("regions", 0, region, "\\N" if gone else {"region": f"r{region}", "version": self.version})

    def _end(self):
        """One order and its payment for each partition, so late that they close what waits for time."""
        while self.due:
            _, _, order, at = heapq.heappop(self.due)
            self._payment(order, at)
        self.now += LAST_STEP_S
        for partition in range(2):
            self.orders += 1
            self.payments += 1
            self._write("orders", partition, partition, {"order_id": self.orders, "customer_id": partition, "amount": 1,
                                                         "created_at": self._time(self.now, 0), "last": True})
            self._write("payments", partition, self.payments, {"payment_id": self.payments, "order_id": self.orders, "paid": 1,
                                                               "paid_at": self._time(self.now, 0)})
        for producer in self.producers.values():
            producer.finish()
