"""Random views: an arm or several, and what is made of their rows.

Every view carries the features it uses. What the product refuses as not in this version is left out and counted by them
(topologies.py), so a feature is on as soon as the product has it.
"""
from datetime import timedelta

from aggregates import array_agg, count_rows, difference, filtered, first_last, having, ordered_agg, simple, string_agg
from definitions import Arm, Group, Hop, Input, View, Window
from expressions import UNITS, US, column, constant, date_bin, date_trunc, session, tumble, unit_later, window_part
from generate_rows import RowMaker

SIZES_US = [7 * US, 30 * US, 100 * US, 3_600 * US]


class ViewMaker:
    def __init__(self, rng, world):
        self.rng = rng
        self.world = world
        self.count = 0

    def make(self, views):
        """Makes a view over topics, or over the views that are there."""
        self.count += 1
        self.rows = RowMaker(self.rng, self.world)
        view = self._make(f"v{self.count}", views)
        if not (view.group or view.distinct or view.distinct_on):
            view.form = self.rng.choices(["plain", "subquery", "with"], [8, 1, 1])[0]
        view.sink_later = self.rng.random() < 0.5
        view.features = frozenset(self.rows.features)
        return view

    def _make(self, name, views):
        streams = [view for view in views if view.is_stream and view.time]
        keyed = [view for view in views if not view.is_stream and view.keys and "bigint" in view.columns.values()]
        kind = self.rng.choices(["streams", "tables", "over_stream", "over_keyed"], [10, 5, 8 if streams else 0, 6 if keyed else 0])[0]
        if kind == "tables":
            return self._of_tables(name, self.world.tables)
        if kind == "over_keyed":
            self.rows.features.add("over_keyed")
            return self._of_tables(name, keyed + self.rng.choice([[], self.world.tables]))
        self.keyed = keyed
        sources = self.world.streams
        if kind == "over_stream":
            self.rows.features.add("over_stream")
            sources = streams
            if self.rng.random() < 0.4:
                self.rows.features.add("topic_beside_view")
                sources = streams + self.world.streams
        return self._of_streams(name, sources)

    # views that streams drive

    def _of_streams(self, name, sources):
        form = self.rng.choices(["append", "group", "window", "distinct", "distinct_on", "union"], [8, 5, 10, 2, 3, 3])[0]
        tables = self.world.tables + [self.world.relation] + self._looked_up()
        view = View(name, [self.rows.stream_arm(sources, tables)])
        view.bootstrap = self.rng.random() < 0.85
        if len(view.arms[0].streams) > 1:
            view.grace_us, view.bound_us = self.rng.choice([0, 2, 30]) * US, view.arms[0].bound_us
        {"append": self._append, "group": self._group, "window": self._window, "distinct": self._distinct,
         "distinct_on": self._distinct_on, "union": self._union}[form](view)
        return view

    def _looked_up(self):
        """Keyed views that a stream may look up: of tables, and where the order of all records is known of other streams."""
        return [view for view in self.keyed if self.world.exact or not view.streams_behind]

    def _append(self, view):
        arm = view.arms[0]
        self._select(view, arm)
        if view.time and self.rng.random() < 0.2 and len(arm.streams) == 1:
            view.retention_us = self.rng.choice([30, 100]) * US
            self.rows.features.add("retention")
        elif self.rng.random() < 0.2:
            view.stored = False
            self.rows.features.add("unstored")

    def _select(self, view, arm):
        """Columns k, g, v, x of some expressions, n of every stream, and the time."""
        time, of = self.rows.time_of_rows(arm)
        arm.columns = [(f"n_{one.alias}", one.column("n")) for one in arm.streams if "n" in one.source.columns]
        arm.columns = [(f"n_{n}", e) for n, (_, e) in enumerate(arm.columns)]
        for column_name, kind in (("k", "bigint"), ("g", "text"), ("v", "bigint"), ("x", "numeric"), ("b", "boolean"), ("f", "float"), ("tags", "text[]")):
            found = self.rows.expression(arm, kind)
            if found and (self.rng.random() < 0.7 or column_name in "kgv"):
                arm.columns.append((column_name, found))
        arm.columns.append(("t", time))
        view.time, view.time_of = "t", of
        view.time_option = of is not None and len(arm.streams) > 1

    def _union(self, view):
        """Two or three arms with the same columns; half of the time aggregated."""
        self.rows.features.add("union")
        view.grace_us = view.bound_us = None
        view.arms = [Arm([Input("a", self.rng.choice(self.world.streams))], [], [], []) for _ in range(self.rng.choice([2, 2, 3]))]
        kinds = [("n", "bigint"), ("k", "bigint"), ("g", "text"), ("v", "bigint"), ("x", "numeric")]
        for arm in view.arms:
            arm.where = [self.rows.condition(arm.inputs[0])] if self.rng.random() < 0.5 else []
            arm.columns = [(name, self.rows.expression(arm, kind)) for name, kind in kinds] + [("t", arm.inputs[0].time)]
        view.time, view.time_of = "t", "a"
        if self.rng.random() < 0.5:
            of_rows = [column("u", name, e.type) for name, e in view.arms[0].columns]
            view.group = Group([("g", of_rows[2])], self._aggregates({e.type: e for e in of_rows}, column("u", "t", "timestamptz"), False))
            view.time = None

    def _distinct(self, view):
        self.rows.features.add("distinct")
        view.distinct = True
        arm = view.arms[0]
        arm.columns = [(name, found) for name, found in (("g", self.rows.expression(arm, "text")), ("k", self.rows.expression(arm, "bigint"))) if found]

    def _distinct_on(self, view):
        self.rows.features.add("distinct_on")
        arm = Arm([Input("a", self.rng.choice(self.world.streams))], [], [], [])
        view.arms, view.grace_us, view.bound_us = [arm], None, None
        one = arm.inputs[0]
        arm.columns = [("k", one.column("k")), ("g", one.column("g")), ("v", one.column("v")), ("n", one.column("n")), ("t", one.time)]
        view.distinct_on = (["k"], "t", self.rng.random() < 0.7)
        self._only_ordered(view)

    # aggregates

    def _group(self, view):
        arm = view.arms[0]
        keys = [(name, e) for name, e in (("k", self.rows.expression(arm, "bigint")), ("g", self.rows.expression(arm, "text"))) if e]
        keys = self.rng.sample(keys, self.rng.choice([0, 1, 1, len(keys)]))
        self._aggregate(view, arm, keys)
        if not keys:
            view.group.having = None

    def _aggregate(self, view, arm, keys, sessions=False):
        by_type = {kind: self.rows.expression(arm, kind) for kind in ("bigint", "numeric", "text", "boolean", "float")}
        ordered = len(arm.inputs) == 1 and arm.streams[0].source in self.world.streams and (arm.streams[0].source.partitions == 1 or self.world.exact)
        view.group = Group(keys, self._aggregates({kind: e for kind, e in by_type.items() if e}, arm.streams[0].time, ordered, sessions))
        if self.rng.random() < 0.25:
            self.rows.features.add("having")
            view.group.having = having(count_rows(), self.rng.choice([">", "<=", "="]), self.rng.choice([1, 2, 4]))

    def _aggregates(self, by_type, time, ordered, any_order=False):
        """Some aggregates, the first one count(*); those that need an order only where the rows have one; with an order of their own for tables and sessions."""
        rng = self.rng
        number = by_type.get("numeric") or by_type["bigint"]
        choices = [("sum", simple("sum", number)), ("avg", simple("avg", by_type["bigint"])), ("least", simple("min", number)),
                   ("greatest", simple("max", by_type["bigint"])), ("known", simple("count", number)), ("total", simple("sum", by_type["bigint"]))]
        if "text" in by_type:
            choices.append(("last_text", simple("max", by_type["text"])))
        if "float" in by_type:
            choices += [("float_sum", simple("sum", by_type["float"])), ("float_avg", simple("avg", by_type["float"]))]
        choices.append(("bits", simple(rng.choice(["bit_and", "bit_or"]), by_type["bigint"])))
        if (time is None or any_order) and rng.random() < 0.3:
            self.rows.features.add("ordered_agg")
            choices.append(("in_order", ordered_agg(by_type["bigint"])))
        if "boolean" in by_type:
            choices += [("all_true", simple("bool_and", by_type["boolean"])), ("any_true", simple("bool_or", by_type["boolean"]))]
        choices.append(("spread", difference(simple("max", number), simple("min", number))))
        if rng.random() < 0.15:
            self.rows.features.add("count_distinct")
            choices = [("different", simple("count", by_type["bigint"], distinct=True))] + choices[:2]
        if ordered and rng.random() < 0.5:
            self.rows.features.add("ordered")
            choices = [("first_v", first_last("first", by_type["bigint"], time)), ("last_x", first_last("last", number, time)),
                       ("all_v", array_agg(by_type["bigint"])), ("listed", string_agg(by_type.get("text", constant("x", "text")), ","))]
        found = [("rows", count_rows())] + rng.sample(choices, rng.randrange(1, min(4, len(choices))))
        if "boolean" in by_type and rng.random() < 0.3:
            name, aggregate = found[-1]
            if not isinstance(aggregate.sql, str) or " - " not in aggregate.sql:
                found[-1] = (name, filtered(aggregate, by_type["boolean"]))
        return found

    def _window(self, view):
        """A window of event time among the keys; it may close, and be final."""
        arm = view.arms[0]
        time, of = self.rows.time_of_rows(arm)
        arm.window_of = of
        size = self.rng.choice(SIZES_US)
        kind = self.rng.choices(["tumble", "hop", "date_bin", "date_trunc", "session"], [4, 4, 1, 1, 5])[0]
        self.rows.features.add(kind)
        if kind == "tumble":
            key, window = ("during", tumble(time, size)), Window("during", lambda value: value[1], size)
        elif kind == "hop":
            advance = self.rng.choice([size, size // 2, size // 3 // US * US + US])
            arm.hop = Hop("span", time, size, advance)
            key, window = ("during", arm.hop.window), Window("during", lambda value: value[1], size)
        elif kind == "date_bin":
            key, window = ("bin", date_bin(time, size, 3 * US)), Window("bin", lambda value: value + size, size)
        elif kind == "date_trunc":
            unit, zone = self.rng.choice(["second", "minute", "hour", "day"]), self.world.zone
            key, window = ("bin", date_trunc(time, unit, zone)), Window("bin", lambda value: unit_later(value, unit, zone), UNITS[unit] // timedelta(microseconds=1))
        else:
            gap = self.rng.choice([3, 10, 40]) * US
            key, window = ("during", session(time, gap)), Window("during", None, None, gap, time)
        keys = [key]
        if self.rng.random() < 0.6:
            found = self.rows.expression(arm, self.rng.choice(["bigint", "text"]))
            keys += [("g", found)] if found else []
        if kind in ("tumble", "hop") and self.rng.random() < 0.3:
            keys.append(("ends", window_part(key[1], "upper")))
        self._aggregate(view, arm, keys, kind == "session")
        view.group.window = window
        self._closing(view)
        if view.final and kind != "session":
            self._give_time(view, keys, kind == "date_trunc" and unit == "day")

    def _closing(self, view):
        """May windows close? By grace, by retention, by emit = final."""
        how = self.rng.choice(["never", "grace", "final", "final", "retention"])
        if len(view.arms[0].streams) > 1 and how == "never":
            how = "grace"
        view.grace_us = {"never": None}.get(how, self.rng.choice([0, 5, 60]) * US)
        view.final = how == "final"
        if how in ("retention", "final") and self.rng.random() < (1 if how == "retention" else 0.3):
            view.retention_us = (view.grace_us or 0) + self.rng.choice([10, 200, 10_000]) * US
        if how == "retention" and len(view.arms[0].streams) == 1 and self.rng.random() < 0.5:
            view.grace_us = None
        self.rows.features.add(f"closing_{how}")

    def _give_time(self, view, keys, varies):
        """The time of a final view's rows: the end of the window, or, where it has one length, its start."""
        if keys[-1][0] == "ends":
            view.time, view.time_is_end, view.time_option = "ends", True, self.rng.random() < 0.5
        elif keys[0][0] == "bin" and not varies:
            view.time, view.time_option = "bin", True

    def _only_ordered(self, view):
        """A view whose result depends on the order of records reads one partition, unless the order of all is known."""
        view.arms[0].inputs[0].source = self.rng.choice([s for s in self.world.streams if s.partitions == 1 or self.world.exact] or self.world.streams)
        if view.arms[0].inputs[0].source.partitions > 1 and not self.world.exact:
            view.arms[0].columns, view.distinct_on = [], None
            self._group(view)
            self.rows.features.discard("distinct_on")

    # views of tables

    def _of_tables(self, name, sources):
        single = [source for source in sources if source.keys == ["id"]]
        if single and self.rng.random() < 0.1:
            return self._union_of_tables(name, single)
        view = View(name, [self.rows.table_arm(sources)])
        arm = view.arms[0]
        if self.rng.random() < 0.1:
            self._distinct(view)
            return view
        if self.rng.random() < 0.4:
            self.rows.features.add("table_group")
            keys = [(key, e) for key, e in (("k", self.rows.expression(arm, "bigint")), ("g", self.rows.expression(arm, "text"))) if e]
            keys = self.rng.sample(keys, self.rng.choice([0, 1, len(keys)]))
            by_type = {kind: self.rows.expression(arm, kind) for kind in ("bigint", "numeric", "text", "boolean", "float")}
            view.group = Group(keys, self._aggregates({kind: e for kind, e in by_type.items() if e}, None, False))
            if keys and self.rng.random() < 0.3:
                self.rows.features.add("having")
                view.group.having = having(count_rows(), self.rng.choice([">", "<="]), 1)
            return view
        numbers = [self.rows.expression(arm, "bigint") for _ in range(3)]
        if len({one.sql for one in numbers if one}) == 3 and self.rng.random() < 0.2:
            self.rows.features.add("distinct_on")
            arm.columns = list(zip("kvw", numbers))
            view.distinct_on = (["k"], "v", self.rng.random() < 0.5)
            return view
        view.key = []
        for one in arm.inputs:
            for key in one.source.keys:
                arm.columns.append((f"{key}_{one.alias}", one.column(key)))
                view.key.append(f"{key}_{one.alias}")
        if len(view.key) == 1 and not isinstance(arm.inputs[0].source, View):
            view.key_not_null, view.key_is_number = arm.inputs[0].source.key_not_null, True
            view.sink_key_format = self.rng.choice([None, "kafka", "json"])
        for column_name, kind in (("k", "bigint"), ("g", "text"), ("v", "bigint"), ("x", "numeric")):
            found = self.rows.expression(arm, kind)
            if found:
                arm.columns.append((column_name, found))
        return view

    def _union_of_tables(self, name, sources):
        """Two or three arms, told apart by a constant; half of the time aggregated."""
        self.rows.features.add("table_union")
        arms = [Arm([Input("a", self.rng.choice(sources))], [], [], []) for _ in range(self.rng.choice([2, 2, 3]))]
        for n, arm in enumerate(arms):
            arm.where = [self.rows.condition(arm.inputs[0])] if self.rng.random() < 0.5 else []
            arm.columns = [("part", constant(str(n), "text")), ("id", arm.inputs[0].column("id"))]
            arm.columns += [(name, self.rows.expression(arm, kind)) for name, kind in (("k", "bigint"), ("g", "text"), ("v", "bigint"), ("x", "numeric"))]
        view = View(name, arms)
        if self.rng.random() < 0.5:
            of_rows = [column("u", name, e.type) for name, e in arms[0].columns]
            view.group = Group([("g", of_rows[3])], self._aggregates({e.type: e for e in of_rows}, None, False))
        else:
            view.key = ["part", "id"]
        return view
