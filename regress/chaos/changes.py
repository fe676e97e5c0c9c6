"""What is changed on objects in use and put back later: names, schemas, owners, rights, options, sinks, triggers.

Every object is known by its oid, and where it belongs is looked up once, at the beginning. So whatever a fault has cut off in the middle, or a
successor of the cluster does not have, `put_back` finds: an object that is not under its name in its schema. Changes pile up until then.
"""
import threading
import time
from collections import Counter

from beside import MOVED, Beside
from world import PIPELINES, VIEWS

OWNER = "keeper"
# on_error of topics whose records are all good, and which it must not matter to, and of one that has bad ones and stops at them
ON_ERROR = {**dict.fromkeys(["orders", "payments", "customers", "regions"], ["skip", "stop", "dead_letter"]), "events": ["stop"]}
# columns that are told their place in the records, and get another name: (topic, column, name)
COLUMNS = [("orders", "amount", "cost"), ("payments", "paid", "amount"), ("events", "device", "machine"), ("regions", "version", "edition")]
# objects that exchange their names
NAMES = [("FOREIGN TABLE", ["orders", "payments", "events"]), ("FOREIGN TABLE", ["customers", "regions"]),
         ("FOREIGN TABLE", ["minutes_sink", "visits_sink", "latest_sink", "paid_sink", "labels_sink"]), ("MATERIALIZED VIEW", MOVED),
         ("FUNCTION", ["one.label", "one.label_next"]), ("TABLE", ["one.ranks", "one.ranks_next"]), ("DOMAIN", ["one.word", "one.word_next"]),
         ("SCHEMA", ["one", "two"]), ("SERVER", ["broker"])]
CATALOGS = {"FUNCTION": ("pg_proc", "pro"), "DOMAIN": ("pg_type", "typ"), "SCHEMA": ("pg_namespace", "nsp"), "SERVER": ("pg_foreign_server", "srv")}
# the views that get another owner, and what he needs for them
OWNED = ["events", "windows", "named"]
GRANTS = [("USAGE", "broker"), ("SELECT", "orders"), ("SELECT", "payments"), ("SELECT", "events"), ("SELECT", "one.ranks"), ("EXECUTE", "one.label"),
          ("USAGE", "one"), *(("INSERT", f"{view.name}_sink") for pipeline in OWNED for view in PIPELINES[pipeline])]
TAKEN = {"42P07", "42710", "42723"}
TRIGGERS = ["FOR EACH ROW", "REFERENCING NEW TABLE AS new FOR EACH STATEMENT"]


class Thing:
    """An object: its kind, its oid, and the schema (by oid; None: it is in none) and name where it belongs."""

    def __init__(self, kind, oid, schema, name):
        self.kind, self.oid, self.schema, self.name = kind, oid, schema, name


class Changes(Beside):
    def __init__(self, servers, seed):
        super().__init__(servers, seed, "changes", 1.5)
        self.counts = Counter()
        self.things = {}
        self.until = 0
        self.resting = threading.Event()     # everything is put back, and stays so

    def connected(self):
        self.sql("SET lock_timeout = '5s'")
        if not self.things:
            self.things = {name: self._find(kind, name) for kind, names in NAMES for name in names}

    def forgives(self, error):
        """Another one has the name in the schema to which one is moved."""
        return error.pgcode in TAKEN or super().forgives(error)

    def once(self):
        if self.resting.is_set() or time.monotonic() > self.until:
            self.put_back()
            self.until = time.monotonic() + self.rng.uniform(5, 40)
            return
        change = self.rng.choice([self._rename, self._exchange, self._exchange, self._exchange, self._move, self._on_error, self._column,
                                  self._add_column, self._server, self._own, self._revoke, self._attach_again, self._trigger])
        change()
        self.counts[change.__name__.strip("_")] += 1

    def put_back(self):
        """Everything is as it was at the beginning."""
        self._home()
        for privilege, name in GRANTS:
            self._grant("GRANT", privilege, name, "TO")
        self.sql(f"REASSIGN OWNED BY {OWNER} TO postgres")
        for topic in ON_ERROR:
            self._set_on_error(topic, "dead_letter")
        for topic, column, other in COLUMNS:
            if self._has_column(topic, other):
                self._alter(topic, f"RENAME COLUMN {other} TO {column}")
            self._alter(topic, "DROP COLUMN IF EXISTS extra")

    def _find(self, kind, name):
        schema, _, bare = name.rpartition(".")
        catalog, prefix = CATALOGS.get(kind, ("pg_class", "rel"))
        condition = "" if kind in ("SCHEMA", "SERVER") else f"AND {prefix}namespace = '{schema or 'public'}'::regnamespace"
        oid = self.sql(f"SELECT oid FROM {catalog} WHERE {prefix}name = '{bare}' {condition}")[0][0]
        return Thing(kind, oid, *self._place(kind, oid))

    def _place(self, kind, oid):
        """The schema (its oid) and the name that an object has now."""
        catalog, prefix = CATALOGS.get(kind, ("pg_class", "rel"))
        schema = "NULL" if kind in ("SCHEMA", "SERVER") else f"{prefix}namespace"
        return self.sql(f"SELECT {schema}, {prefix}name FROM {catalog} WHERE oid = {oid}")[0]

    def _said(self, name):
        """How a statement calls an object now, by the name that belongs to it; one that never changes its name has that."""
        if name not in self.things:
            return name
        thing = self.things[name]
        schema, now = self._place(thing.kind, thing.oid)
        return f"{self._place('SCHEMA', schema)[1]}.{now}" if schema else now

    def _alter(self, name, what):
        self.sql(f"ALTER {self.things[name].kind} {self._said(name)} {what}")

    def _home(self):
        """Names and schemas: whoever is not where it belongs first leaves the place of another one."""
        away = [name for name, thing in self.things.items() if self._place(thing.kind, thing.oid) != (thing.schema, thing.name)]
        self.sql("BEGIN")
        for name in away:
            self._alter(name, f"RENAME TO home_{self.things[name].oid}")
        for name in away:
            thing = self.things[name]
            if thing.schema != self._place(thing.kind, thing.oid)[0]:
                self._alter(name, f"SET SCHEMA {self._place('SCHEMA', thing.schema)[1]}")
        for name in away:
            self._alter(name, f"RENAME TO {self.things[name].name}")
        self.sql("COMMIT")

    def _rename(self):
        name = self.rng.choice(list(self.things))
        self._alter(name, f"RENAME TO away_{self.things[name].oid}")

    def _exchange(self):
        """The names of two in one transaction, which is sometimes rolled back."""
        one, other = self.rng.sample(self.rng.choice([names for _, names in NAMES if len(names) > 1]), 2)
        names = [self._place(thing.kind, thing.oid)[1] for thing in (self.things[one], self.things[other])]
        self.sql("BEGIN")
        self._alter(one, f"RENAME TO between_{self.things[one].oid}")
        self._alter(other, f"RENAME TO {names[0]}")
        self._alter(one, f"RENAME TO {names[1]}")
        self.sql(self.rng.choice(["COMMIT", "COMMIT", "COMMIT", "ROLLBACK"]))

    def _move(self):
        name = self.rng.choice([name for name, thing in self.things.items() if thing.schema])
        self._alter(name, "SET SCHEMA elsewhere")

    def _on_error(self):
        topic = self.rng.choice(list(ON_ERROR))
        self._set_on_error(topic, self.rng.choice(ON_ERROR[topic]))

    def _set_on_error(self, topic, value):
        there = self.sql(f"SELECT coalesce(ftoptions::text ~ 'on_error=', false) FROM pg_foreign_table WHERE ftrelid = {self.things[topic].oid}")[0][0]
        self._alter(topic, f"OPTIONS ({'SET' if there else 'ADD'} on_error '{value}')")

    def _has_column(self, topic, column):
        return self.sql(f"SELECT attfdwoptions FROM pg_attribute WHERE attrelid = {self.things[topic].oid} AND attname = '{column}'")

    def _column(self):
        topic, column, other = self.rng.choice(COLUMNS)
        found = self._has_column(topic, column)
        if not found:
            return
        if not found[0][0]:
            self._alter(topic, f"ALTER COLUMN {column} OPTIONS (ADD path '{column}')")
        self._alter(topic, f"RENAME COLUMN {column} TO {other}")

    def _add_column(self):
        self._alter(self.rng.choice(COLUMNS)[0], "ADD COLUMN IF NOT EXISTS extra text")

    def _server(self):
        self._alter("broker", f"OPTIONS (SET transaction_timeout_ms '{self.rng.choice([12000, 15000, 18000])}')")

    def _own(self):
        """Some or all of the views of a pipeline are given away."""
        views = [view.name for view in PIPELINES[self.rng.choice(OWNED)] if view.stored]
        self.sql("BEGIN")
        for view in self.rng.sample(views, self.rng.choice([1, len(views)])):
            self.sql(f"ALTER MATERIALIZED VIEW {self._said(view)} OWNER TO {OWNER}")
        self.sql("COMMIT")

    def _revoke(self):
        """What the other owner cannot do without, until it is granted again."""
        self._grant("REVOKE", *self.rng.choice(GRANTS), "FROM")

    def _grant(self, verb, privilege, name, preposition):
        thing = self.things.get(name)
        kind = {"SERVER": "FOREIGN SERVER", "SCHEMA": "SCHEMA", "FUNCTION": "FUNCTION"}.get(thing.kind if thing else None, "TABLE")
        self.sql(f"{verb} {privilege} ON {kind} {self._said(name)} {preposition} {OWNER}")

    def _attach_again(self):
        """A sink is detached and attached in one transaction, without the rows that are there: every change is in it, once."""
        view = self.rng.choice([name for name, view in VIEWS.items() if view.stored])
        names = f"'{self._said(view)}', '{self._said(f'{view}_sink')}'"
        self.sql("BEGIN")
        self.sql(f"SELECT kafka.detach_sink({names})")
        self.sql(f"SELECT kafka.attach_sink({names}, false)")
        self.sql(self.rng.choice(["COMMIT", "COMMIT", "ROLLBACK"]))

    def _trigger(self):
        """The trigger of an ordinary table, by rows or by statements, under another name."""
        self.sql("BEGIN")
        self.sql("DROP TRIGGER publish ON fact")
        self.sql(f"CREATE TRIGGER publish AFTER INSERT ON fact {self.rng.choice(TRIGGERS)} EXECUTE FUNCTION kafka.publish('facts')")
        self.sql("COMMIT")
