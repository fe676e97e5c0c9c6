"""Aggregates over the rows of a group, each computed anew from all of them.

Why it exists: the product combines partial states; here the definition is applied to the rows, in processing order.
An average is a Fraction, so that nothing is rounded before it is compared; its type has a name of its own, so that no
expression of a view over it reckons with it.
"""
from dataclasses import dataclass, field
from decimal import Decimal
from fractions import Fraction
from functools import reduce
from operator import and_, or_
from typing import Callable

from expressions import COMPARISONS, is_nan, literal, number_type, rank


@dataclass
class Aggregate:
    sql: str
    type: str
    of_rows: Callable = field(repr=False)    # rows (environments, in processing order) to a value
    needs_order: bool = False                # the order of the rows decides, and nothing in them does


def filtered(aggregate, condition):
    """With FILTER (WHERE condition)."""
    return Aggregate(f"{aggregate.sql} FILTER (WHERE {condition.sql})", aggregate.type,
                     lambda rows: aggregate.of_rows([row for row in rows if condition.value(row) is True]), aggregate.needs_order)


def count_rows():
    return Aggregate("count(*)", "bigint", len)


def of_values(name, what, type_name, function, on_none=None, distinct=False, needs_order=False, more=""):
    """An aggregate of the values that are not NULL; on_none is its value without any."""
    def of_rows(rows):
        values = [value for value in (what.value(row) for row in rows) if value is not None]
        if distinct:
            values = sorted(set(values))
        return function(values) if values else on_none
    return Aggregate(f"{name}({'DISTINCT ' if distinct else ''}{what.sql}{more})", type_name, of_rows, needs_order)


def average(values):
    if isinstance(values[0], float):
        return sum(values) / len(values)
    if any(is_nan(value) for value in values):
        return Decimal("NaN")
    return sum(Fraction(value) for value in values) / len(values)


def simple(name, what, distinct=False):
    """count, sum, avg, min, max, bool_and, bool_or, bit_and, bit_or of an expression."""
    function = {
        "count": len, "sum": sum, "avg": average,
        "min": lambda values: min(values, key=rank), "max": lambda values: max(values, key=rank),
        "bool_and": all, "bool_or": any,
        "bit_and": lambda values: reduce(and_, values), "bit_or": lambda values: reduce(or_, values),
    }[name]
    type_name = {"count": "bigint", "sum": "numeric", "avg": "average"}.get(name, what.type)
    if what.type == "float" and name in ("sum", "avg"):
        type_name = "float"
    return of_values(name, what, type_name, function, 0 if name == "count" else None, distinct)


def string_agg(what, separator):
    return of_values("string_agg", what, "text", separator.join, needs_order=True, more=f", {literal(separator, 'text')}")


def ordered_agg(what):
    """array_agg with an order of its own; equal elements cannot be told apart."""
    def of_rows(rows):
        values = [what.value(row) for row in rows]
        return sorted((v for v in values if v is not None), key=rank) + [v for v in values if v is None] if rows else None
    return Aggregate(f"array_agg({what.sql} ORDER BY {what.sql})", what.type + "[]", of_rows)


def array_agg(what):
    """NULLs are elements too."""
    return Aggregate(f"array_agg({what.sql})", what.type + "[]",
                     lambda rows: [what.value(row) for row in rows] if rows else None, needs_order=True)


def first_last(which, what, order):
    """kafka.first, kafka.last: of equal orders the earlier record, for last the later one; a NULL order is left out."""
    def of_rows(rows):
        found = None
        for row in rows:
            place = order.value(row)
            if place is None:
                continue
            if found is None or (place < found[0] if which == "first" else place >= found[0]):
                found = (place, what.value(row))
        return found[1] if found else None
    return Aggregate(f"kafka.{which}({what.sql}, {order.sql})", what.type, of_rows, needs_order=True)


def difference(left, right):
    def of_rows(rows):
        a, b = left.of_rows(rows), right.of_rows(rows)
        return None if a is None or b is None else a - b
    return Aggregate(f"{left.sql} - {right.sql}", number_type(left, right), of_rows,
                     left.needs_order or right.needs_order)


@dataclass
class Having:
    sql: str
    of_rows: Callable = field(repr=False)


def having(aggregate, operator, value):
    def of_rows(rows):
        found = aggregate.of_rows(rows)
        return found is not None and COMPARISONS[operator](found, value)
    return Having(f"{aggregate.sql} {operator} {literal(value, aggregate.type)}", of_rows)
