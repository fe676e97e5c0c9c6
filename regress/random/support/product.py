"""The product's side of a topology: making it, feeding it, and reading what it has made of it, as Python values.

Rows are compared as canonical text, with multiplicity, both ways: a number without trailing zeros, an average to ten digits
(its denominators are far too small for a tie there), a time in microseconds, a range as its bounds.
"""
import json
from collections import Counter
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from fractions import Fraction

from definitions import View
from expressions import EPOCH, is_nan
from harness import Failed, kv_kafka

DIGITS = 10


def canonical(value, type_name):
    """A value of the simulator or of the product as text."""
    if value is None:
        return "NULL"
    if type_name.endswith("[]"):
        return "{" + ",".join(canonical(one, type_name[:-2]) for one in value) + "}"
    if type_name in ("numeric", "average", "float") and is_nan(value):
        return "NaN"
    if type_name == "average":
        scaled = Fraction(value) * 10 ** DIGITS
        return str(int(scaled + Fraction(1, 2)) if scaled >= 0 else -int(-scaled + Fraction(1, 2)))
    if type_name in ("numeric", "bigint"):
        return f"{Decimal(value).normalize():f}" if value else "0"
    if type_name == "float":
        return repr(float(value))
    if type_name == "timestamptz":
        return str(value)
    if type_name == "tstzrange":
        return f"{value[2][0]}{value[0]},{value[1]}{value[2][1]}"
    return str(value)


def canonical_row(row, columns):
    return " | ".join(f"{name}={canonical(row[name], kind)}" for name, kind in columns.items())


def time_us(text):
    return (datetime.fromisoformat(text.replace("Z", "+00:00")) - EPOCH) // timedelta(microseconds=1)


def range_value(value):
    """A range as Postgres writes it, or as a sink has it."""
    if isinstance(value, dict):
        return time_us(value["start"]), time_us(value["end"]), value.get("bounds", "[)")
    lower, upper = value[1:-1].split(",")
    return time_us(lower.strip('"')), time_us(upper.strip('"')), value[0] + value[-1]


def from_json(value, type_name):
    if value is None:
        return None
    if type_name == "timestamptz":
        return time_us(value)
    if type_name == "tstzrange":
        return range_value(value)
    if type_name in ("numeric", "average"):
        return Decimal(value)
    if type_name == "float":
        return float(value)
    return value


def json_row(text, columns):
    fields = json.loads(text, parse_float=Decimal)
    return {name: from_json(fields.get(name), kind) for name, kind in columns.items()}


@dataclass
class Found:
    """What the product made of a view."""
    rows: list                     # canonical text
    late: int
    dead_letters: int              # of its pipeline


def read_views(database, views):
    """Reads views, all in one script."""
    found = {view.name: Found([], 0, 0) for view in views}
    script = [f"SELECT '{view.name}', 'row', to_json(whole_row) FROM {view.name} whole_row" for view in views if view.stored]
    script.append("SELECT relation, 'late', late_rows FROM kafka_state.view")
    script.append("SELECT relation, 'dead', (SELECT count(*) FROM kafka_state.dead_letter d WHERE d.pipeline = v.pipeline) FROM kafka_state.view v")
    columns = {view.name: view.columns for view in views}
    for name, what, value in database.run(";\n".join(script)):
        if name in found and what == "row":
            found[name].rows.append(canonical_row(json_row(value, columns[name]), columns[name]))
        elif name in found:
            setattr(found[name], {"late": "late", "dead": "dead_letters"}[what], int(value))
    return found


def verified(database, view):
    """What kafka.verify finds, as text."""
    try:
        rows = database.run(f"SELECT difference, row_data FROM kafka.verify('{view.name}')")
    except Failed as failed:
        return f"kafka.verify('{view.name}'): {failed}"
    return f"kafka.verify('{view.name}'):\n" + "\n".join(f"    {what}: {row}" for what, row in rows[:10]) if rows else ""


def sink_messages(topic):
    """(key, value) of every message, partition by partition."""
    messages = []
    for line in kv_kafka("consume", topic, "--hex").splitlines():
        partition, offset, _, key, value, *_ = line.split("\t")
        messages.append((int(partition), int(offset), bytes_of(key), None if value == "\\N" else bytes_of(value).decode()))
    return messages


def bytes_of(field):
    return None if field == "\\N" else bytes.fromhex(field)


def folded_sink(view, messages):
    """What a consumer keeps: all values of an append topic, the last one per key of an upsert topic."""
    if view.is_stream:
        values = [value for *_, value in messages]
    else:
        check_messages(view, messages)
        last = {}
        for _, _, key, value in messages:
            last[key] = value
        for key, value in last.items():
            check_key(view, key, value)
        values = [value for value in last.values() if value is not None]
    return [canonical_row(json_row(value, view.columns), view.columns) for value in values]


def check_messages(view, messages):
    """
    A key stays in its partition. Where a group never gets a value again that it had, no message may change nothing; elsewhere
    one may, because what goes out in one Kafka transaction is reduced to the last message of a key.
    """
    grows = view.stream_driven and not (view.group and (view.group.having or (view.group.window and view.group.window.gap_us is not None)))
    before = {}
    for partition, offset, key, value in messages:
        last = before.get(key)
        if grows and (last == (partition, value) or value is None):
            raise Failed(f"sink of {view.name}: message {offset} of partition {partition} changes nothing: {key} {value}")
        if last is not None and last[0] != partition:
            raise Failed(f"sink of {view.name}: key {key} in partitions {last[0]} and {partition}")
        before[key] = (partition, value)


def check_key(view, key, value):
    """A key of one number is written in the sink's key format."""
    if not view.key_is_number or value is None:
        return
    number = json.loads(value)[view.keys[0]]
    must_be = number.to_bytes(8, "big", signed=True) if view.sink_key_format == "kafka" else str(number).encode()
    if key != must_be:
        raise Failed(f"sink of {view.name}: key {key} of {value}, must be {must_be}")


def difference(what, is_there, must_be):
    """The difference of two lists of rows as text, empty where they are equal."""
    is_there, must_be = Counter(is_there), Counter(must_be)
    lines = [f"    missing:  {row}" for row in sorted((must_be - is_there).elements())]
    lines += [f"    too much: {row}" for row in sorted((is_there - must_be).elements())]
    if not lines:
        return ""
    more = f"\n    ... {len(lines) - 30} more" if len(lines) > 30 else ""
    return f"{what}: {sum(is_there.values())} rows, must be {sum(must_be.values())}\n" + "\n".join(lines[:30]) + more


def expected_rows(view, rows):
    return [canonical_row(row, view.columns) for row in rows]


def create_sink(database, view, topic):
    """The foreign table of a view's sink, and the statement that attaches it."""
    keys = [] if view.is_stream else view.keys
    kinds = {"average": "numeric", "float": "double precision"}
    listed = ", ".join(f"{name} {kinds.get(kind, kind)}" + (" OPTIONS (key 'true')" if name in keys else "") for name, kind in view.columns.items())
    mode = "append" if view.is_stream else "upsert"
    options = f"topic '{topic}', mode '{mode}'" + (f", key_format '{view.sink_key_format}'" if view.sink_key_format else "")
    return (f"CREATE FOREIGN TABLE {view.name}_sink ({listed}) SERVER {database.schema} OPTIONS ({options})",
            f"SELECT kafka.attach_sink('{view.name}', '{view.name}_sink')")


def can_have_sink(view):
    """A single key that may be NULL is no key of a record."""
    if view.is_stream or len(view.keys) > 1 or view.key_is_number:
        return True
    return len(view.keys) == 1 and view.columns[view.keys[0]] in ("tstzrange", "timestamptz")


def topics_of(view):
    """All topics a view depends on."""
    found = []
    for source in view.sources:
        for topic in topics_of(source) if isinstance(source, View) else [source]:
            if topic not in found:
                found.append(topic)
    return found
