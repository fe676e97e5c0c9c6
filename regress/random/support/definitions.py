"""What a topology is: topics, records and views, and a view as SQL.

Why it exists: the generator makes these, the product gets their SQL, and the simulator (simulate.py) plays them. A view has
arms (select-project-join over its inputs; more than one under UNION ALL) and, where it aggregates, a group over their rows.
"""
from dataclasses import dataclass, field

from aggregates import Having
from expressions import Expr, column, conditions_sql, interval

UNBOUNDED = 1 << 62


@dataclass
class Topic:
    name: str
    mode: str                      # append or upsert
    columns: dict                  # name: type
    keys: list                     # of an upsert topic
    time: str = None               # the event-time column; None: the record's timestamp
    partitions: int = 1
    keys_in_value: bool = False    # the key columns are fields of the value too
    record_time: bool = False      # the event-time column is the record's timestamp
    key_format: str = None         # None: the default

    @property
    def key_not_null(self):
        """Is its key one column that can never be null? In JSON, and from the value, it could."""
        return len(self.keys) == 1 and self.key_format != "json" and not self.keys_in_value

    @property
    def is_stream(self):
        return self.mode == "append"

    @property
    def streams_behind(self):
        return frozenset([self.name] if self.is_stream else [])


@dataclass
class Relation(Topic):
    """An ordinary table, whose rows do not change."""
    rows: list = field(default_factory=list)


@dataclass
class Record:
    topic: Topic
    partition: int
    at_us: int                     # its timestamp: whole milliseconds
    row: dict                      # typed values; None: a null value (a deletion in an upsert topic)
    key: str = None                # the topic's keys as text
    bad: bool = False              # cannot be decoded
    text: str = None               # its value as produced

    @property
    def key_bytes(self):
        """The key as produced: text, or in the key format kafka the bytes of a Java long."""
        return int(self.key).to_bytes(8, "big", signed=True) if self.topic.key_format == "kafka" else self.key

    @property
    def time(self):
        """Event time; of a deletion the record's timestamp."""
        return self.row[self.topic.time] if self.row is not None and self.topic.time else self.at_us


@dataclass
class Input:
    alias: str
    source: object                 # Topic or View

    def column(self, name):
        return column(self.alias, name, self.source.columns[name])

    @property
    def time(self):
        return self.column(self.source.time)


@dataclass
class Join:
    kind: str                      # inner, left, right, full
    alias: str
    on: list


@dataclass
class Hop:
    """CROSS JOIN LATERAL kafka.hop(time, size, advance) AS alias."""
    alias: str
    time: Expr
    size_us: int
    advance_us: int

    @property
    def window(self):
        return Expr(self.alias, "tstzrange", lambda env: env[self.alias], frozenset([self.alias]))


@dataclass
class Unnest:
    """CROSS JOIN LATERAL unnest(array) AS alias."""
    alias: str
    array: Expr

    @property
    def element(self):
        return Expr(self.alias, self.array.type[:-2], lambda env: env[self.alias], frozenset([self.alias]))


@dataclass
class Arm:
    inputs: list
    joins: list                    # one for each input after the first
    where: list
    columns: list                  # (name, Expr); empty under an inline group
    bounds: list = field(default_factory=list)    # (a, b, most): time of b - time of a <= most, microseconds
    hop: Hop = None
    unnest: Unnest = None
    bound_us: int = None           # the view must have it as kafka.bound
    window_of: str = None          # alias of the stream whose time the group's window is of; None: greatest() of all

    @property
    def streams(self):
        return [i for i in self.inputs if i.source.is_stream]

    @property
    def outer(self):
        """The outer join of two streams, if there is one."""
        streams = {i.alias for i in self.streams}
        return next((join for join in self.joins if join.kind != "inner" and join.alias in streams), None)

    def closed_bounds(self):
        """For all pairs of streams: how much later than a row of the first one of the second may be."""
        names = [i.alias for i in self.streams]
        most = {(a, b): 0 if a == b else UNBOUNDED for a in names for b in names}
        for a, b, bound in self.bounds:
            most[a, b] = min(most[a, b], bound)
        for via in names:
            for a in names:
                for b in names:
                    most[a, b] = min(most[a, b], most[a, via] + most[via, b])
        return most

    def from_sql(self):
        text = f"{self.inputs[0].source.name} {self.inputs[0].alias}"
        for one, join in zip(self.inputs[1:], self.joins):
            kind = {"inner": "JOIN", "left": "LEFT JOIN", "right": "RIGHT JOIN", "full": "FULL JOIN"}[join.kind]
            text += f" {kind} {one.source.name} {one.alias} ON {conditions_sql(join.on)}"
        if self.unnest:
            text += f" CROSS JOIN LATERAL unnest({self.unnest.array.sql}) AS {self.unnest.alias}"
        if self.hop:
            text += f" CROSS JOIN LATERAL kafka.hop({self.hop.time.sql}, {interval(self.hop.size_us)}, {interval(self.hop.advance_us)}) AS {self.hop.alias}"
        return text + (f" WHERE {conditions_sql(self.where)}" if self.where else "")

    def sql(self):
        return "SELECT " + ", ".join(f"{e.sql} AS {name}" for name, e in self.columns) + " FROM " + self.from_sql()


@dataclass
class Window:
    """Which key of a group is a window, and when one ends."""
    key: str
    end: object                    # value of the key to microseconds
    length_us: int = None          # of a window that is not a session
    gap_us: int = None             # of a session; its key is computed by the simulator
    time: Expr = None              # of a session


@dataclass
class Group:
    keys: list                     # (name, Expr)
    aggregates: list               # (name, Aggregate)
    having: Having = None
    window: Window = None


@dataclass
class View:
    name: str
    arms: list
    group: Group = None
    distinct: bool = False
    distinct_on: tuple = None      # (key names, column that decides, descending)
    grace_us: int = None
    retention_us: int = None
    bound_us: int = None           # kafka.bound: makes up for what its query leaves out
    final: bool = False
    bootstrap: bool = True
    stored: bool = True
    sink_later: bool = False       # its sink is attached after the transaction that creates it
    form: str = "plain"            # or subquery, with: how its query is written
    time: str = None               # column that carries the time for views over this one
    time_of: str = None            # alias of the stream whose time that is; None: greatest() of all, or another column
    time_is_end: bool = False      # of a final view: is it the end of the window? Else its start
    time_option: bool = False      # is it named by the option event_time?
    key: list = None               # of a view of tables
    key_not_null: bool = False     # its key is one column that can never be null
    key_is_number: bool = False    # or one number that is not
    sink_key_format: str = None    # None: the default
    features: frozenset = frozenset()

    @property
    def stream_driven(self):
        return any(arm.streams for arm in self.arms)

    @property
    def streams_behind(self):
        """The streams that it is made of, directly or not."""
        return frozenset().union(*(source.streams_behind for source in self.sources))

    @property
    def is_stream(self):
        """Are its rows never changed?"""
        return self.stream_driven and not self.distinct and not self.distinct_on and (self.group is None or self.final)

    @property
    def columns(self):
        if self.group:
            return {name: e.type for name, e in self.group.keys} | {name: a.type for name, a in self.group.aggregates}
        return {name: e.type for name, e in self.arms[0].columns}

    @property
    def keys(self):
        """The key of its sink; empty for an append-only view."""
        if self.group:
            return [name for name, _ in self.group.keys]
        if self.distinct_on:
            return self.distinct_on[0]
        return list(self.columns) if self.distinct else self.key or []

    @property
    def sources(self):
        return [i.source for arm in self.arms for i in arm.inputs]

    def query(self):
        if self.form == "subquery":
            return f"SELECT * FROM ({self._query()}) q"
        if self.form == "with":
            return f"WITH q AS ({self._query()}) SELECT * FROM q"
        return self._query()

    def _query(self):
        if self.group is None:
            text = " UNION ALL ".join(arm.sql() for arm in self.arms)
            if self.distinct:
                return text.replace("SELECT", "SELECT DISTINCT", 1) if len(self.arms) == 1 else f"SELECT DISTINCT * FROM ({text}) u"
            if self.distinct_on:
                keys, order, descending = self.distinct_on
                selected = dict(self.arms[0].columns)
                on = ", ".join(selected[key].sql for key in keys)
                return text.replace("SELECT", f"SELECT DISTINCT ON ({on})", 1) + f" ORDER BY {on}, {selected[order].sql}{' DESC' if descending else ''}"
            return text
        if self.arms[0].columns:
            source = "(" + " UNION ALL ".join(arm.sql() for arm in self.arms) + ") u"
        else:
            source = self.arms[0].from_sql()
        selected = [f"{e.sql} AS {name}" for name, e in self.group.keys] + [f"{a.sql} AS {name}" for name, a in self.group.aggregates]
        text = f"SELECT {', '.join(selected)} FROM {source}"
        if self.group.keys:
            text += " GROUP BY " + ", ".join(str(n + 1) for n in range(len(self.group.keys)))
        return text + (f" HAVING {self.group.having.sql}" if self.group.having else "")

    def create(self, pipeline=None):
        options = ["kafka.continuous"]
        for name, length in (("grace", self.grace_us), ("retention", self.retention_us), ("bound", self.bound_us)):
            if length is not None:
                options.append(f"kafka.{name} = '{interval(length)[10:-1]}'")
        if self.final:
            options.append("kafka.emit = 'final'")
        if not self.bootstrap and any(not (source.is_stream or isinstance(source, Relation)) for source in self.sources):
            options.append("kafka.bootstrap = false")
        if self.time_option:
            options.append(f"kafka.event_time = '{self.time}'")
        if pipeline:
            options.append(f"kafka.pipeline = '{pipeline}'")
        return f"CREATE {'MATERIALIZED ' if self.stored else ''}VIEW {self.name} WITH ({', '.join(options)}) AS\n{self.query()}"
