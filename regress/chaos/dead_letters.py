"""Dead letters that are tried again and discarded while everything else goes on.

Records of a kind that a domain refuses are dead letters until the domain is mended, and then applied, each once, by the record's batch
or by a retry; at the end all of them are. What cannot be decoded at all stays a dead letter, or is discarded and noted.
"""
from beside import Beside
from world import BAD

UNDEFINED = {"42704", "42P01", "3F000"}
CHECK = "word_check"


class DeadLetters(Beside):
    """mending: whether retries may succeed before the end. A failover that loses a retry would have it published twice (docs/guarantees.md)."""

    def __init__(self, servers, seed, mending):
        super().__init__(servers, seed, "dead letters", 4)
        self.mending = mending

    def forgives(self, error):
        """Topic or domain are called otherwise at the moment."""
        return error.pgcode in UNDEFINED or super().forgives(error)

    def once(self):
        self.rng.choice([self._retry, self._retry, self._retry_some, self._retry_of_view, self._discard] + [self._mend, self._break] * self.mending)()

    def put_back(self):
        """The domain takes every kind, and what it refused is tried again."""
        self._mend()
        self._retry()

    def _mend(self):
        self.sql(f"ALTER DOMAIN one.word DROP CONSTRAINT IF EXISTS {CHECK}")

    def _break(self):
        """Values that are there already stay."""
        if not self.sql(f"SELECT 1 FROM pg_constraint WHERE contypid = 'one.word'::regtype AND conname = '{CHECK}'"):
            self.sql(f"ALTER DOMAIN one.word ADD CONSTRAINT {CHECK} CHECK (value IN ('a', 'b')) NOT VALID")

    def _retry(self):
        self.sql("SELECT kafka.retry_dead_letters('events')")

    def _retry_some(self):
        self.sql("SELECT kafka.retry_dead_letters('events', ARRAY(SELECT id FROM kafka.dead_letters WHERE view IS NULL ORDER BY random() LIMIT 5))")

    def _retry_of_view(self):
        """In vain: zero divides nothing."""
        self.sql("SELECT kafka.retry_dead_letters('shares')")

    def _discard(self):
        """Some of those that nobody can read, perhaps while the worker tries them."""
        self.sql("BEGIN")
        ids = [row[0] for row in self.sql("INSERT INTO discarded SELECT id, pipeline, topic, partition, \"offset\" FROM kafka.dead_letters"
                                          f" WHERE value LIKE '{BAD}%' ORDER BY random() LIMIT 2 RETURNING id")]
        count = self.sql("SELECT kafka.discard_dead_letters('events', %s)", (ids,))[0][0]
        self.sql("COMMIT" if count == len(ids) else "ROLLBACK")
