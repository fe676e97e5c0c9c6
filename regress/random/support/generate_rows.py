"""Random arms: what stands in FROM and WHERE of a view, over streams, over tables, over views.

An arm knows what a reader of its rows may use: its columns, and which stream's time is the time of a row.
"""
from definitions import Arm, Input, Join, Relation, Unnest, View
from expressions import (US, all_of, any_of, between, coalesce, compare, concat, constant, difference_at_most, greatest, is_distinct, is_null,
                         later, modulo, plus, times, unwritten, upper, when)


class RowMaker:
    def __init__(self, rng, world):
        self.rng = rng
        self.world = world
        self.features = set()

    # streams

    def stream_arm(self, sources, tables=()):
        """An arm over one stream, or over two or three that are joined, with or without looked-up tables."""
        kind = self.rng.choices(["one", "inner", "outer", "self", "three", "one_sided"], [6, 4, 4, 2, 2, 1])[0]
        joinable = [one for one in sources if (one.columns.get("k"), one.columns.get("g"), one.columns.get("v")) == ("bigint", "text", "bigint")]
        if kind != "one" and joinable:
            sources = joinable
        elif kind != "one":
            kind = "one"
        if kind == "outer":
            arm = self._two(self._pick(sources, 2), self.rng.choice(["left", "right", "full"]))
        elif kind in ("inner", "self"):
            one = self.rng.choice(sources)
            arm = self._two([one, one] if kind == "self" else self._pick(sources, 2), "inner")
        elif kind in ("three", "one_sided"):
            arm = self._three([self.rng.choice(sources) for _ in range(3)], kind == "one_sided")
        else:
            arm = Arm([Input("a", self.rng.choice(sources))], [], [], [])
        self.features.add(f"stream_{kind}" if kind != "outer" else f"stream_{arm.joins[0].kind}")
        if tables and self.rng.random() < 0.4:
            self._look_up(arm, tables)
        arm.where += self._filters(arm)
        if len(arm.inputs) == 1 and "tags" in arm.inputs[0].source.columns and self.rng.random() < 0.1:
            self.features.add("unnest")
            arm.unnest = Unnest("tag", arm.inputs[0].column("tags"))
        return arm

    def _pick(self, sources, count):
        return [self.rng.choice(sources) for _ in range(count)]

    def _two(self, sources, kind):
        a, b = Input("a", sources[0]), Input("b", sources[1])
        if self.rng.random() < 0.15:
            return self._bounded_by_option(a, b, kind)
        bounds, conditions = self._bound(a, b)
        return Arm([a, b], [Join(kind, "b", self._equal(a, b) + conditions + self._extra(a, b))], [], [], bounds)

    def _bounded_by_option(self, a, b, kind):
        """The query bounds one side, or none; kafka.bound does what is missing."""
        self.features.add("bound_option")
        width = self._width()
        after, before = difference_at_most(b.time, a.time, width), difference_at_most(a.time, b.time, width)
        bounds, written, missing = self.rng.choice([
            ([("a", "b", width), ("b", "a", width)], [], [after, before]),
            ([("a", "b", width), ("b", "a", 0)], [compare(b.time, ">=", a.time)], [after]),
            ([("a", "b", 0), ("b", "a", width)], [compare(b.time, "<=", a.time)], [before])])
        arm = Arm([a, b], [Join(kind, "b", self._equal(a, b) + written + [unwritten(one) for one in missing])], [], [], bounds)
        arm.bound_us = width
        return arm

    def _three(self, sources, one_sided):
        """Three streams; the bound between a and c follows from the others, or all are one-sided and close a circle."""
        a, b, c = (Input(alias, source) for alias, source in zip("abc", sources))
        if one_sided:
            width = self._width()
            first = [compare(b.time, ">=", a.time)]
            second = [compare(c.time, ">=", b.time), compare(c.time, "<=", later(a.time, width))]
            bounds = [("b", "a", 0), ("c", "b", 0), ("a", "c", width)]
        else:
            bounds, first = self._bound(a, b)
            more, second = self._bound(b, c)
            bounds += more
        return Arm([a, b, c], [Join("inner", "b", self._equal(a, b) + first), Join("inner", "c", self._equal(b, c) + second)], [], [], bounds)

    def _equal(self, a, b):
        conditions = [compare(b.column("k"), "=", a.column("k"))]
        if self.rng.random() < 0.25:
            conditions.append(compare(a.column("g"), "=", b.column("g")))
        return conditions

    def _width(self):
        return self.rng.choice([0, 1, 5, 20, 60]) * US + self.rng.choice([0, 0, 500_000])

    def _bound(self, a, b):
        """Bounds of the time of b against that of a, written in one of the ways there are."""
        before, after = self.rng.choice([0, 0, self._width()]), self._width()
        form = self.rng.choice(["between", "compare", "difference", "strict", "ahead"])
        if form == "ahead":    # b never before a plus something
            least = self.rng.choice([1, 5]) * US
            return [("a", "b", least + after), ("b", "a", -least)] if a.alias == "a" else [(a.alias, b.alias, least + after), (b.alias, a.alias, -least)], [
                between(b.time, later(a.time, least), later(a.time, least + after))]
        bounds = [(a.alias, b.alias, after), (b.alias, a.alias, before)]
        if form == "between":
            return bounds, [between(b.time, later(a.time, -before), later(a.time, after))]
        if form == "compare":
            return bounds, [compare(b.time, "<=", later(a.time, after)), compare(a.time, "<=", later(b.time, before))]
        if form == "strict":
            return bounds, [compare(b.time, "<", later(a.time, after)), compare(later(a.time, -before), "<", b.time)]
        return bounds, [difference_at_most(b.time, a.time, after), difference_at_most(a.time, b.time, before)]

    def _extra(self, a, b):
        """Conditions of any kind besides, of both sides or of one."""
        chance = self.rng.random()
        if chance < 0.2:
            return [compare(a.column("v"), self.rng.choice(["<", "<>", ">="]), b.column("v"))]
        if chance < 0.3:
            return [compare(self.rng.choice([a, b]).column("v"), ">", constant(0, "bigint"))]
        return []

    def _look_up(self, arm, tables):
        """Looks one or two tables up, by their key or by another column."""
        self.features.add("lookup")
        own = frozenset().union(*(one.source.streams_behind for one in arm.streams))
        tables = [table for table in tables if not own & table.streams_behind]
        views = [table for table in tables if isinstance(table, View)]
        for n in range(self.rng.choice([1, 1, 2])):
            table = Input(f"l{n + 1}", self.rng.choice(views if views and self.rng.random() < 0.4 else tables))
            kind = self.rng.choice(["inner", "left"])
            by = self.rng.choice(arm.streams)
            if arm.outer:    # nothing may take away the rows that the outer join is for
                by = arm.streams[1 if arm.outer.kind == "right" else 0]
                kind = "left" if arm.outer.kind == "full" else kind
            number = next((name for name, kind in by.source.columns.items() if kind == "bigint" and name == "k"), None)
            if number is None:
                return
            on = [compare(table.column(self._number(table)), "=", by.column(number))]
            if self.rng.random() < 0.2 and table.source.columns.get("v") == "bigint":
                on.append(compare(table.column("v"), ">", constant(0, "bigint")))
            arm.inputs.append(table)
            arm.joins.append(Join(kind, table.alias, on))
            self.features.add("lookup_relation" if isinstance(table.source, Relation) else f"lookup_{kind}")
            if isinstance(table.source, View):
                self.features.add("lookup_view")
            elif self.rng.random() < 0.2 and not (arm.outer and arm.outer.kind == "full"):
                arm.where.append(self.rng.choice([compare(table.column("v"), ">", constant(1, "bigint")), is_null(table.column("id")),
                                                  is_distinct(table.column("g"), by.column("g"))]) if by.source.columns.get("g") == "text" else
                                 is_null(table.column("k"), False))

    def _filters(self, arm):
        """Conditions of WHERE; of the nullable side of an outer join only whether it is there."""
        found = []
        outer = arm.outer
        if outer is None and self.rng.random() < 0.4:
            found.append(self.condition(self.rng.choice(arm.streams)))
        elif outer and outer.kind == "left" and self.rng.random() < 0.2:
            found.append(is_null(arm.inputs[1].time))
            self.features.add("anti_join")
        elif outer and outer.kind != "full" and self.rng.random() < 0.3:
            found.append(self.condition(arm.inputs[0 if outer.kind == "left" else 1]))
        return found

    # tables

    def table_arm(self, sources):
        """An arm over one to three tables, by primary or foreign key; gives it and the columns that are its key."""
        count = self.rng.choices([1, 2, 3], [2, 5, 2])[0]
        inputs = [Input(alias, self.rng.choice(sources)) for alias in "abc"[:count]]
        joins = []
        for n, one in enumerate(inputs[1:], 1):
            kind = self.rng.choice(["inner", "left", "right", "full", "full"]) if n == 1 else self.rng.choice(["inner", "left"])
            if kind == "full" and not inputs[0].source.key_not_null:    # by nothing but a null are rows without a first table told
                kind = "left"
            joins.append(Join(kind, one.alias, self._table_conditions(inputs[self.rng.randrange(n)], one, kind)))
            self.features.add(f"table_{kind}")
        if count == 3:
            self.features.add("table_three")
        arm = Arm(inputs, joins, [], [])
        if count == 1:
            self.features.add("table_one")
        if self.rng.random() < 0.3 and all(join.kind == "inner" for join in joins):
            arm.where.append(self.condition(self.rng.choice(inputs)))
        elif self.rng.random() < 0.15 and count == 2 and joins[0].kind == "left":
            arm.where.append(is_null(inputs[1].column(inputs[1].source.keys[0])))
        return arm

    def _table_conditions(self, one, other, kind):
        """Primary key to primary key, or a column to a key, either way."""
        on = [compare(one.column(self._number(one)), "=", other.column(self._number(other)))]
        if one.source.columns.get("g") == other.source.columns.get("g") == "text" and self.rng.random() < 0.2:
            on.append(compare(one.column("g"), "=", other.column("g")))
        if kind != "full" and "v" in one.source.columns and "v" in other.source.columns and self.rng.random() < 0.15:
            on.append(compare(one.column("v"), "<>", other.column("v")))
        return on

    def _number(self, one):
        """A column to join by: more often than not the key, or a part of it."""
        names = [name for name, kind in one.source.columns.items() if kind == "bigint"]
        keys = [name for name in names if name in one.source.keys]
        return self.rng.choice(keys if keys and self.rng.random() < 0.5 else names)

    # expressions

    def condition(self, one):
        """A condition on the columns of one input."""
        rng, names = self.rng, one.source.columns
        choices = []
        if names.get("v") == "bigint":
            choices += [compare(one.column("v"), rng.choice([">", "<=", "<>"]), constant(rng.randrange(8), "bigint")),
                        is_distinct(one.column("v"), constant(3, "bigint"))]
        if names.get("g") == "text":
            choices += [compare(one.column("g"), rng.choice(["=", "<>"]), constant(rng.choice("abc"), "text")), is_null(one.column("g"), False),
                        any_of([compare(one.column("g"), "=", constant("a", "text")), is_null(one.column("g"))])]
        if "b" in names:
            choices += [one.column("b"), compare(one.column("b"), "=", constant(False, "boolean"))]
        return rng.choice(choices or [is_null(one.column(next(iter(names))), False)])

    def expression(self, arm, type_name):
        """An expression of a type over the columns of an arm; None: it has none."""
        rng = self.rng
        if type_name == "text" and arm.unnest and rng.random() < 0.7:
            return arm.unnest.element
        columns = [one.column(name) for one in arm.inputs for name, kind in one.source.columns.items() if kind == type_name]
        if not columns:
            return None
        one = rng.choice(columns)
        if rng.random() < 0.6:
            return one
        other = rng.choice(columns)
        if type_name == "bigint":
            return rng.choice([plus(one, other), modulo(one, 3), coalesce(one, constant(-1, "bigint")), times(one, constant(2, "bigint")),
                               when(is_null(other), constant(0, "bigint"), one)])
        if type_name == "float":
            return rng.choice([plus(one, other), times(one, constant(2, "bigint")), coalesce(one, other)])
        if type_name == "numeric":
            return rng.choice([plus(one, other), times(one, constant(3, "bigint")), coalesce(one, other)])
        if type_name == "text":
            return rng.choice([upper(one), concat(one, other), coalesce(one, other, constant("-", "text"))])
        if type_name == "boolean":
            return rng.choice([is_null(one), coalesce(one, constant(False, "boolean")), all_of([is_null(one, False), is_null(other, False)])])
        return one

    def time_of_rows(self, arm):
        """An event time for the rows of a stream arm: (expression, alias whose time it is or None)."""
        streams = arm.streams
        if len(streams) == 1:
            return streams[0].time, streams[0].alias
        if arm.outer:
            if self.rng.random() < 0.3:
                first = self.rng.choice(streams)
                return coalesce(first.time, *(one.time for one in streams if one is not first)), first.alias
            preserved = streams[0] if arm.outer.kind == "left" else streams[1] if arm.outer.kind == "right" else None
            if preserved and self.rng.random() < 0.5:
                return preserved.time, preserved.alias
            return greatest(*(one.time for one in streams)), None
        if self.rng.random() < 0.5:
            return greatest(*(one.time for one in streams)), None
        one = self.rng.choice(streams)
        return one.time, one.alias
