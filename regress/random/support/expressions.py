"""Expressions that are SQL text and a Python function at once, with SQL's NULLs.

Why it exists: a topology is described once; the product gets the text, the simulator calls the function. The functions are
written from the SQL standard, not from the product.
Values: bigint int, numeric Decimal, float (double precision) float, text str, boolean bool, timestamptz int (microseconds since 1970), tstzrange a tuple
(lower, upper, bounds), NULL None. An environment maps an alias to its row (a dict), or to None where an outer join has none.
"""
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from decimal import Decimal
from typing import Callable
from zoneinfo import ZoneInfo

US = 1_000_000
EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)


@dataclass
class Expr:
    sql: str
    type: str
    value: Callable = field(repr=False)
    aliases: frozenset = frozenset()


def literal(value, type_name):
    """A value as SQL, never taken for a name or a number of another type."""
    if value is None:
        return f"NULL::{type_name}"
    if type_name == "timestamptz":
        return f"'{time_text(value)}'::timestamptz"
    if type_name == "text":
        return "'" + value.replace("'", "''") + "'"
    if type_name == "boolean":
        return "true" if value else "false"
    return str(value) if value >= 0 else f"({value})"


def time_text(at_us):
    return (EPOCH + timedelta(microseconds=at_us)).strftime("%Y-%m-%d %H:%M:%S.%f+00")


def interval(length_us):
    """A length as an SQL interval, in seconds."""
    text = f"{Decimal(length_us) / US:f}"
    return f"interval '{text} seconds'"


def column(alias, name, type_name):
    def value(env):
        row = env[alias]
        return None if row is None else row[name]
    return Expr(f"{alias}.{name}", type_name, value, frozenset([alias]))


def constant(value, type_name):
    return Expr(literal(value, type_name), type_name, lambda env: value)


def strict(sql, type_name, function, *arguments):
    """An expression that is NULL where an argument is; {} in the text stand for the arguments."""
    def value(env):
        values = [argument.value(env) for argument in arguments]
        return None if None in values else function(*values)
    return Expr(sql.format(*(argument.sql for argument in arguments)), type_name, value,
                frozenset().union(*(argument.aliases for argument in arguments)))


def is_nan(value):
    return value != value


def rank(value):
    """What orders values as Postgres does: NaN equals itself and is after all numbers."""
    return (1, 0) if is_nan(value) else (0, value)


COMPARISONS = {
    "=": lambda a, b: rank(a) == rank(b), "<>": lambda a, b: rank(a) != rank(b), "<": lambda a, b: rank(a) < rank(b),
    "<=": lambda a, b: rank(a) <= rank(b), ">": lambda a, b: rank(a) > rank(b), ">=": lambda a, b: rank(a) >= rank(b),
}


def compare(left, operator, right):
    return strict("{} " + operator + " {}", "boolean", COMPARISONS[operator], left, right)


def between(what, least, most):
    return all_of([compare(what, ">=", least), compare(what, "<=", most)], f"{what.sql} BETWEEN {least.sql} AND {most.sql}")


def all_of(conditions, sql=None):
    def value(env):
        values = [condition.value(env) for condition in conditions]
        return False if False in values else None if None in values else True
    return Expr(sql or " AND ".join(condition.sql for condition in conditions), "boolean", value,
                frozenset().union(*(condition.aliases for condition in conditions)))


def any_of(conditions):
    def value(env):
        values = [condition.value(env) for condition in conditions]
        return True if True in values else None if None in values else False
    return Expr("(" + " OR ".join(condition.sql for condition in conditions) + ")", "boolean", value,
                frozenset().union(*(condition.aliases for condition in conditions)))


def is_null(what, really=True):
    return Expr(f"{what.sql} IS {'' if really else 'NOT '}NULL", "boolean", lambda env: (what.value(env) is None) == really, what.aliases)


def is_distinct(left, right):
    return Expr(f"{left.sql} IS DISTINCT FROM {right.sql}", "boolean", lambda env: left.value(env) != right.value(env),
                left.aliases | right.aliases)


def coalesce(*arguments):
    def value(env):
        return next((v for v in (argument.value(env) for argument in arguments) if v is not None), None)
    return Expr("coalesce(" + ", ".join(argument.sql for argument in arguments) + ")", arguments[0].type, value,
                frozenset().union(*(argument.aliases for argument in arguments)))


def greatest(*arguments):
    """NULLs are left out, as in Postgres."""
    def value(env):
        values = [v for v in (argument.value(env) for argument in arguments) if v is not None]
        return max(values, key=rank) if values else None
    return Expr("greatest(" + ", ".join(argument.sql for argument in arguments) + ")", arguments[0].type, value,
                frozenset().union(*(argument.aliases for argument in arguments)))


def when(condition, then, otherwise):
    return Expr(f"CASE WHEN {condition.sql} THEN {then.sql} ELSE {otherwise.sql} END", then.type,
                lambda env: then.value(env) if condition.value(env) is True else otherwise.value(env),
                condition.aliases | then.aliases | otherwise.aliases)


def plus(left, right):
    return strict("({} + {})", number_type(left, right), lambda a, b: a + b, left, right)


def times(left, right):
    return strict("({} * {})", number_type(left, right), lambda a, b: a * b, left, right)


def number_type(left, right):
    return next((kind for kind in ("float", "numeric") if kind in (left.type, right.type)), "bigint")


def modulo(left, divisor):
    """The remainder has the sign of the dividend."""
    return strict("{} % " + str(divisor), "bigint", lambda a: abs(a) % divisor * (1 if a >= 0 else -1), left)


def upper(what):
    return strict("upper({})", "text", str.upper, what)


def concat(left, right):
    return strict("({} || {})", "text", lambda a, b: a + b, left, right)


def later(time, length_us):
    """A time plus a length, which may be negative."""
    return strict("{} " + ("+ " if length_us >= 0 else "- ") + interval(abs(length_us)), "timestamptz", lambda at: at + length_us, time)


def difference_at_most(later_time, earlier_time, most_us):
    return strict("{} - {} <= " + interval(most_us), "boolean", lambda a, b: a - b <= most_us, later_time, earlier_time)


def tumble(time, size_us):
    return strict("kafka.tumble({}, " + interval(size_us) + ")", "tstzrange",
                  lambda at: (at // size_us * size_us, at // size_us * size_us + size_us, "[)"), time)


def hops(at, size_us, advance_us):
    """The windows of one size that hold a moment, earliest first."""
    start = (at - size_us) // advance_us * advance_us + advance_us
    return [(lower, lower + size_us, "[)") for lower in range(start, at + 1, advance_us)]


def session(time, gap_us):
    """A marker for GROUP BY; the sessions are made by simulate_groups.py."""
    return strict("kafka.session({}, " + interval(gap_us) + ")", "tstzrange", lambda at: None, time)


def date_bin(time, size_us, origin_us):
    return strict("date_bin(" + interval(size_us) + ", {}, " + literal(origin_us, "timestamptz") + ")", "timestamptz",
                  lambda at: origin_us + (at - origin_us) // size_us * size_us, time)


UNITS = {"second": timedelta(seconds=1), "minute": timedelta(minutes=1), "hour": timedelta(hours=1), "day": timedelta(days=1)}


def date_trunc(time, unit, zone):
    """In a time zone. A day begins at midnight of its own offset from UTC; what is shorter keeps the offset of the moment."""
    return strict("date_trunc('" + unit + "', {})", "timestamptz", lambda at: truncated(at, unit, zone), time)


def truncated(at, unit, zone):
    local = (EPOCH + timedelta(microseconds=at)).astimezone(ZoneInfo(zone))
    if unit == "day":
        return moment_us(local.replace(hour=0, minute=0, second=0, microsecond=0, fold=0))
    length_us = UNITS[unit] // timedelta(microseconds=1)
    offset_us = local.utcoffset() // timedelta(microseconds=1)
    return (at + offset_us) // length_us * length_us - offset_us


def unit_later(start, unit, zone):
    """A moment plus one unit, in a time zone: the end of date_trunc's window."""
    if unit != "day":
        return start + UNITS[unit] // timedelta(microseconds=1)
    local = (EPOCH + timedelta(microseconds=start)).astimezone(ZoneInfo(zone)).replace(tzinfo=None) + UNITS[unit]
    return moment_us(local.replace(tzinfo=ZoneInfo(zone)))


def moment_us(moment):
    return (moment.astimezone(timezone.utc) - EPOCH) // timedelta(microseconds=1)


def window_part(window, part):
    return strict(part + "({})", "timestamptz", lambda window: window[0 if part == "lower" else 1], window)


def unwritten(condition):
    """A condition that the product adds by itself."""
    return Expr(None, condition.type, condition.value, condition.aliases)


def conditions_sql(conditions):
    return " AND ".join(condition.sql for condition in conditions if condition.sql)


def holds(conditions, env):
    """Do all of them hold? NULL does not."""
    return all(condition.value(env) is True for condition in conditions)
