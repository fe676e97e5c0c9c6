"""The rows of a select-project-join that streams drive: lateness, matches, unmatched rows, looked-up tables.

DESIGN.md 2.3 and 2.4. Nothing is evicted here: a row that is not late finds every partner that was not late, which is what
eviction in the product must never show.
"""
from dataclasses import dataclass, field

from expressions import holds, hops

NEVER = -(1 << 62)
ALWAYS = 1 << 62


@dataclass
class StreamRow:
    row: dict
    time: int                   # event time
    before: int                 # stream time of its partition before it; NEVER: a view's row, which has none
    most: int = ALWAYS          # no frontier that judges it can be beyond this
    matched: bool = False
    emitted: bool = False


@dataclass
class Output:
    env: dict
    before: int
    most: int
    arm: object = field(repr=False)    # the Arm whose columns make the row


class ArmRows:
    def __init__(self, definition, grace_us, simulation):
        self.definition = definition
        self.simulation = simulation
        self.names = [i.alias for i in definition.streams]
        self.buffers = {name: [] for name in self.names}
        self.late = 0
        self.most = definition.closed_bounds()
        self.lateness, self.retain = {}, {}
        if len(self.names) > 1:
            for a in self.names:
                self.lateness[a] = grace_us + max(0, max(self.most[a, b] for b in self.names))
            for a in self.names:
                self.retain[a] = max(self.lateness[b] + self.most[a, b] for b in self.names if b != a)
        outer = definition.outer
        first = self.names[0]
        self.preserved = set() if outer is None else {
            "left": {first}, "right": {outer.alias}, "full": {first, outer.alias}}[outer.kind]
        self.nullable = set() if outer is None else {
            "left": {outer.alias}, "right": {first}, "full": {first, outer.alias}}[outer.kind]
        self.matching = [condition for join in definition.joins if join.alias in self.names for condition in join.on]
        self.lookups = [join for join in definition.joins if join.alias not in self.names]
        self.sources = {i.alias: i.source for i in definition.inputs}

    def output_delay(self, time_of):
        """
        How much older than the watermark of the streams the time of a new row can be: the last partner of a row may come later
        than it, and a row without one is made when none can come any more. time_of: the stream whose time it is; None: greatest() of all.
        """
        delays = [self.retain[name] for name in self.preserved]
        return max(delays + [0 if time_of is None else max(self.most[time_of, b] for b in self.names)])

    def own_conditions(self, alias):
        """What decides by itself whether a row takes part: one of a preserved side does without a match, too."""
        conditions = [] if alias in self.nullable else list(self.definition.where)
        if alias not in self.preserved:
            conditions += self.matching
        return [condition for condition in conditions if condition.aliases == {alias}]

    def take(self, alias, row, frontier):
        """Takes a new row of one input; gives the joined rows it makes."""
        frontier = min(frontier, row.most)
        if not holds(self.own_conditions(alias), {alias: row.row}):
            return []
        if self.lateness and row.time + self.lateness[alias] <= max(row.before, frontier):
            self.late += 1
            return self._finish(self._alone(alias, row), row) if alias in self.preserved else []
        row = StreamRow(row.row, row.time, row.before, row.most)
        outputs = []
        for env in self._matches({alias: row}, [name for name in self.names if name != alias]):
            for partner in env.values():
                partner.matched = True
            outputs += self._finish({name: partner.row for name, partner in env.items()}, row)
        self.buffers[alias].append(row)
        return outputs

    def close(self, frontier):
        """Gives the unmatched rows of the preserved sides whose last match can no longer arrive."""
        outputs = []
        for alias in self.names:
            for row in self.buffers[alias] if alias in self.preserved else []:
                if not row.matched and not row.emitted and row.time + self.retain[alias] <= frontier:
                    row.emitted = True
                    outputs += self._finish(self._alone(alias, row), StreamRow(row.row, row.time, row.before))
        return outputs

    def _alone(self, alias, row):
        return {name: row.row if name == alias else None for name in self.names}

    def _matches(self, env, others):
        """All combinations of a row with buffered rows of the other streams."""
        bound = set(env)
        conditions = [condition for condition in self.matching if condition.aliases <= bound]
        if not holds(conditions, {name: partner.row for name, partner in env.items()}):
            return
        if not others:
            yield env
            return
        for partner in self.buffers[others[0]]:
            yield from self._matches({**env, others[0]: partner}, others[1:])

    def _finish(self, env, row):
        """Looks tables up, filters, and opens the windows of hop."""
        envs = [env]
        for join in self.lookups:
            envs = [joined for some in envs for joined in self._look_up(some, join)]
        unnest, hop = self.definition.unnest, self.definition.hop
        if unnest:
            envs = [{**some, unnest.alias: element} for some in envs for element in unnest.array.value(some) or []]
        if hop:
            envs = [{**some, hop.alias: window} for some in envs if hop.time.value(some) is not None
                    for window in hops(hop.time.value(some), hop.size_us, hop.advance_us)]
        envs = [some for some in envs if holds(self.definition.where, some)]
        before = row.before if len(self.names) == 1 else NEVER
        return [Output(some, before, row.most, self.definition) for some in envs]

    def _look_up(self, env, join):
        found = [{**env, join.alias: other} for other in self.simulation.table_of(self.sources[join.alias])]
        found = [some for some in found if holds(join.on, some)]
        return found or ([{**env, join.alias: None}] if join.kind == "left" else [])
