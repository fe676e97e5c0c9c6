"""Groups that streams drive: windows and their closing, sessions, emit = final, HAVING, DISTINCT, DISTINCT ON.

DESIGN.md 2.3 and 2.5. A group keeps all its rows, and its aggregates are computed from them.
"""
from dataclasses import dataclass, field

from simulate_rows import NEVER


@dataclass
class OneGroup:
    key: tuple
    rows: list = field(default_factory=list)    # environments in processing order
    end: int = None                             # when its window ends; None: never
    gone: bool = False                          # removed by retention
    emitted: bool = False                       # under emit = final


@dataclass
class Session(OneGroup):
    first: int = 0
    last: int = 0


class Groups:
    def __init__(self, definition):
        self.definition = definition
        self.group = definition.group
        self.window = self.group.window if self.group else None
        self.late = 0
        self.apart = 0                   # rows beside a session that had closed, which their query would put into it
        self.groups = {}                 # key: OneGroup; of sessions, key without the session: list of Session
        self.taken = 0                   # rows of sessions so far: their processing order
        closing = definition.final or definition.grace_us is not None or definition.retention_us is not None
        self.grace = (definition.grace_us or 0) if closing and self.window else None
        self.retention = definition.retention_us if self.window else None

    def take(self, output, frontier):
        """Takes a row of the rows layer."""
        env = output.env
        if len(self.definition.arms) > 1 or output.arm.columns:
            env = {"u": {name: e.value(env) for name, e in output.arm.columns}}
        if self.window and self.window.gap_us is not None:
            self._take_session(env, max(output.before, frontier))
            return
        key = self._key(env)
        end = None
        if self.window:
            value = key[self._window_place()]
            end = None if value is None else self.window.end(value)
        if self._is_late(end, max(output.before, frontier)):
            self.late += 1
            return
        self.groups.setdefault(key, OneGroup(key, end=end)).rows.append(env)

    def _key(self, env):
        if self.group:
            return tuple(e.value(env) for _, e in self.group.keys)
        names = self.definition.distinct_on[0] if self.definition.distinct_on else list(env["u"])
        return tuple(env["u"][name] for name in names)

    def _window_place(self):
        return [name for name, _ in self.group.keys].index(self.window.key)

    def _is_late(self, end, reached):
        if end is None or reached == NEVER:
            return False
        return (self.grace is not None and end + self.grace <= reached) or (self.retention is not None and end + self.retention <= reached)

    def _take_session(self, env, reached):
        """A row merges the sessions of its group within the gap that are open for it."""
        place, gap = self._window_place(), self.window.gap_us
        rest = tuple(e.value(env) for n, (_, e) in enumerate(self.group.keys) if n != place)
        at = self.window.time.value(env)
        sessions = self.groups.setdefault(rest, [])
        within = [s for s in sessions if s.first - gap <= at <= s.last + gap]
        near = [s for s in within if not self._is_late(s.end, reached)]
        first, last = min([at] + [s.first for s in near]), max([at] + [s.last for s in near])
        if self._is_late(last + gap, reached):
            self.late += 1
            return
        self.apart += len(near) < len(within)
        rows = sorted([pair for s in near for pair in s.rows], key=lambda pair: pair[0])
        self.taken += 1
        key = rest[:place] + ((first, last, "[]"),) + rest[place:]
        merged = Session(key, rows + [(self.taken, env)], last + gap, first=first, last=last)
        self.groups[rest] = [s for s in sessions if s not in near] + [merged]

    def _all(self):
        """All groups with their rows."""
        for group in self.groups.values():
            if isinstance(group, OneGroup):
                yield group, group.rows
            else:
                for session in group:
                    yield session, [env for _, env in session.rows]

    def close(self, frontier):
        """Closes windows; gives the rows of emit = final, earliest first, and forgets what retention has passed."""
        emitted = []
        for group, rows in self._all():
            if self.definition.final and not group.emitted and self._is_closed(group, frontier):
                group.emitted = True
                emitted.append((group.end, self._row(group, rows)))
            if self.retention is not None and group.end is not None and group.end + self.retention <= frontier:
                group.gone = True
        emitted.sort(key=lambda pair: pair[0])
        return [row for _, row in emitted if row is not None]

    def _is_closed(self, group, frontier):
        return group.end is not None and frontier != NEVER and group.end + self.grace <= frontier

    def kept(self, result):
        """Of the rows of emit = final those that retention has left."""
        gone = {group.key for group, _ in self._all() if group.gone}
        names = [name for name, _ in self.group.keys]
        return [row for row, _ in result if tuple(row[name] for name in names) not in gone]

    def _row(self, group, rows):
        """A group's result, None: HAVING fails."""
        if self.group is None:
            return self._distinct_row(rows)
        if self.group.having and not self.group.having.of_rows(rows):
            return None
        row = dict(zip((name for name, _ in self.group.keys), group.key))
        return row | {name: aggregate.of_rows(rows) for name, aggregate in self.group.aggregates}

    def _distinct_row(self, rows):
        if not self.definition.distinct_on:
            return rows[0]["u"]
        _, order, descending = self.definition.distinct_on
        best = rows[0]["u"]
        for env in rows[1:]:
            if comes_before(env["u"][order], best[order], descending):
                best = env["u"]
        return best

    def rows(self):
        return self._rows(lambda group: not group.gone)

    def published_rows(self):
        """What retention removes is not published."""
        return self._rows(lambda group: True)

    def _rows(self, wanted):
        if self.group and not self.group.keys and not self.groups:
            return [{name: aggregate.of_rows([]) for name, aggregate in self.group.aggregates}]
        found = [self._row(group, rows) for group, rows in self._all() if wanted(group)]
        return [row for row in found if row is not None]


def comes_before(value, other, descending):
    """ORDER BY: NULLs are last, under DESC first; equal values come in the order of the records."""
    if value is None or other is None:
        return value is None and other is not None if descending else value is not None and other is None
    return value > other if descending else value < other
