"""Views of tables: the query over the tables as they are. DESIGN.md 2.4, 2.5: both sides drive, and the view equals its query."""
from expressions import holds
from simulate_groups import comes_before


def table_rows(view, table_of):
    """All rows of a view that reads tables and keyed views only; table_of gives the rows of a source."""
    envs = []
    for arm in view.arms:
        for env in _joined(arm, table_of):
            if holds(arm.where, env):
                envs.append({"u": {name: e.value(env) for name, e in arm.columns}} if arm.columns else env)
    if view.group:
        return _grouped(view.group, envs)
    rows = [env["u"] for env in envs]
    if view.distinct:
        rows = [row for n, row in enumerate(rows) if row not in rows[:n]]
    if view.distinct_on:
        rows = _standing(view.distinct_on, rows)
    return rows


def _standing(distinct_on, rows):
    """The first row of each key; of those at the same place, the one whose values come first."""
    keys, order, descending = distinct_on
    best = {}
    for row in rows:
        key = tuple(row[name] for name in keys)
        for name, down in [(order, descending)] + [(name, False) for name in row]:
            if key not in best or comes_before(row[name], best[key][name], down):
                best[key] = row
            if row[name] != best[key][name]:
                break
    return list(best.values())


def _joined(arm, table_of):
    first = arm.inputs[0]
    envs = [{first.alias: row} for row in table_of(first.source)]
    done = [first.alias]
    for one, join in zip(arm.inputs[1:], arm.joins):
        others = table_of(one.source)
        envs = _join(envs, one.alias, others, join, done)
        done.append(one.alias)
    return envs


def _join(envs, alias, others, join, left_aliases):
    result = []
    matched = set()
    for env in envs:
        found = False
        for n, other in enumerate(others):
            both = {**env, alias: other}
            if holds(join.on, both):
                result.append(both)
                matched.add(n)
                found = True
        if not found and join.kind in ("left", "full"):
            result.append({**env, alias: None})
    if join.kind in ("right", "full"):
        result += [{**dict.fromkeys(left_aliases), alias: other} for n, other in enumerate(others) if n not in matched]
    return result


def _grouped(group, envs):
    groups = {} if group.keys else {(): []}
    for env in envs:
        groups.setdefault(tuple(e.value(env) for _, e in group.keys), []).append(env)
    rows = []
    for key, members in groups.items():
        if group.having is None or group.having.of_rows(members):
            row = dict(zip((name for name, _ in group.keys), key))
            rows.append(row | {name: aggregate.of_rows(members) for name, aggregate in group.aggregates})
    return rows
