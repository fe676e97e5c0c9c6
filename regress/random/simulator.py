"""The reference simulator against worked timelines: what it says must be what the books say.

The joins are those of the Kafka Streams wiki, "Kafka Streams Join Semantics": one key, fifteen records, STREAM_1 1:null 3:A 5:B
7:null 9:C 12:null 15:D and STREAM_2 2:null 4:a 6:b 8:null 10:c 11:null 13:null 14:d, read as streams and as tables. Where
DESIGN.md differs (an unmatched row comes once, when its last match can no longer arrive) the text of the case says so. The sessions are
those of the javadoc of SessionWindows. No database is asked.
"""
import sys

sys.dont_write_bytecode = True
sys.path.insert(0, __file__.rsplit("/", 1)[0] + "/support")
from aggregates import array_agg, count_rows, simple
from definitions import Arm, Group, Hop, Input, Join, Record, Topic, View, Window
from expressions import US, compare, constant, difference_at_most, session, tumble
from simulate import Simulation

LEFT = [(1, None), (3, "A"), (5, "B"), (7, None), (9, "C"), (12, None), (15, "D")]
RIGHT = [(2, None), (4, "a"), (6, "b"), (8, None), (10, "c"), (11, None), (13, None), (14, "d")]
COLUMNS = {"k": "bigint", "val": "text", "t": "timestamptz"}
failures = []


def stream(name, partitions=1):
    return Topic(name, "append", dict(COLUMNS), [], "t", partitions)


def table(name):
    return Topic(name, "upsert", {"k": "bigint", "val": "text"}, ["k"])


def record(topic, second, value, key=1, partition=0):
    if value is None:
        return Record(topic, partition, second * US, None, str(key))
    row = {"k": key, "val": value, "t": second * US}
    return Record(topic, partition, second * US, {name: row[name] for name in topic.columns}, str(key))


def timeline(left, right):
    """Both sides, in the order of their seconds."""
    return sorted([record(left, *event) for event in LEFT] + [record(right, *event) for event in RIGHT], key=lambda one: one.at_us)


def joined(left, right, kind, window_s=None, grace_s=0):
    """SELECT a.val, b.val FROM left a KIND JOIN right b ON b.k = a.k AND the times lie within window_s."""
    a, b = Input("a", left), Input("b", right)
    on, bounds = [compare(b.column("k"), "=", a.column("k"))], []
    if window_s is not None:
        on += [difference_at_most(b.time, a.time, window_s * US), difference_at_most(a.time, b.time, window_s * US)]
        bounds = [("a", "b", window_s * US), ("b", "a", window_s * US)]
    arm = Arm([a, b], [Join(kind, "b", on)], [], [("left_val", a.column("val")), ("right_val", b.column("val"))], bounds)
    return View("v", [arm], grace_us=grace_s * US if window_s is not None else None)


def pairs(rows):
    return sorted(f"{row['left_val'] or '-'}{row['right_val'] or '-'}" for row in rows)


def check(what, found, must_be):
    if found != must_be:
        failures.append(f"{what}:\n    found   {found}\n    must be {must_be}")


def stream_stream():
    every = sorted(left + right for _, left in LEFT if left for _, right in RIGHT if right)
    for kind in ("inner", "left", "right", "full"):
        s1, s2 = stream("s1"), stream("s2")
        simulation = Simulation([joined(s1, s2, kind, 100)])
        simulation.play(timeline(s1, s2))
        check(f"stream-stream {kind}, all in one window", pairs(simulation.states["v"].rows()), every)


def stream_stream_unmatched():
    """A window of 10 s, a grace of 5 s: a row is late 15 s behind, and an unmatched one comes once, when the frontier is 25 s after it."""
    s1, s2 = stream("s1"), stream("s2")
    both = ("left", "right", "full")
    lines = [  # (side, second, value, what is new, for which kinds)
        (s1, 0, "A", [], both), (s2, 0, "p", ["Ap"], both),
        (s1, 20, "B", [], both), (s2, 20, "q", ["Bq"], both),
        (s1, 40, "C", [], both), (s2, 54, "r", [], both), (s1, 54, "D", ["Dr"], both),
        (s1, 39, "E", ["E-"], ("left", "full")), (s2, 39, "s", ["-s"], ("right", "full")),    # late: unmatched at once, and joining nothing
        (s2, 64, "t", ["Dt"], both), (s1, 64, "F", ["Fr", "Ft"], both), (s1, 65, "G", ["Gt"], both),
        (s2, 65, "u", ["Fu", "Gu"], both), (s1, 65, "H", ["Ht", "Hu"], both),
        (s1, 100, "I", [], both), (s2, 100, "v", ["Iv"], both),
    ]
    for kind in ("left", "right", "full"):
        simulation = Simulation([joined(s1, s2, kind, 10, 5)])
        seen = []
        for side, second, value, new, kinds in lines:
            simulation.play([record(side, second, value)])
            rows = pairs(simulation.states["v"].rows())
            fresh = list(rows)
            for row in seen:
                fresh.remove(row)
            must_be = list(new) if kind in kinds else []
            if value == "u" and kind != "right":
                must_be.append("C-")    # 40 + 25 is reached on both sides
            check(f"stream-stream {kind}, window 10, grace 5, at {value}", fresh, sorted(must_be))
            seen = rows
        check(f"late rows of {kind}", simulation.states["v"].late_rows, 2)


def stream_table():
    for kind, must_be in (("inner", ["Bb", "Dd"]), ("left", ["A-", "Bb", "C-", "Dd"])):
        s1, t2 = stream("s1"), table("t2")
        simulation = Simulation([joined(s1, t2, kind)])
        # STREAM_2 as the table; it has a when B comes in the book, and b here, where the table is moved before the stream by a second
        events = [record(s1, second, value) for second, value in LEFT] + [record(t2, second - (2 if value == "b" else 0), value) for second, value in RIGHT]
        simulation.play(sorted(events, key=lambda one: (one.at_us, one.topic.is_stream)))
        check(f"stream-table {kind}, b before B", pairs(simulation.states["v"].rows()), must_be)
    for kind, must_be in (("inner", ["Ba", "Dd"]), ("left", ["A-", "Ba", "C-", "Dd"])):
        s1, t2 = stream("s1"), table("t2")
        simulation = Simulation([joined(s1, t2, kind)])
        simulation.play(timeline(s1, t2))
        check(f"stream-table {kind}", pairs(simulation.states["v"].rows()), must_be)
    s1, t2 = stream("s1"), table("t2")
    simulation = Simulation([joined(s1, t2, "left")])
    simulation.play(timeline(s1, t2), tables_first=True)
    check("stream-table left, tables first", pairs(simulation.states["v"].rows()), ["Ad", "Bd", "Cd", "Dd"])


def table_table():
    states = {  # the result after each of the seconds 1 to 15
        "inner": [[], [], [], ["Aa"], ["Ba"], ["Bb"], [], [], [], ["Cc"], [], [], [], [], ["Dd"]],
        "left": [[], [], ["A-"], ["Aa"], ["Ba"], ["Bb"], [], [], ["C-"], ["Cc"], ["C-"], [], [], [], ["Dd"]],
        "full": [[], [], ["A-"], ["Aa"], ["Ba"], ["Bb"], ["-b"], [], ["C-"], ["Cc"], ["C-"], [], [], ["-d"], ["Dd"]],
        "right": [[], [], [], ["Aa"], ["Ba"], ["Bb"], ["-b"], [], [], ["Cc"], [], [], [], ["-d"], ["Dd"]],
    }
    for kind, expected in states.items():
        t1, t2 = table("t1"), table("t2")
        simulation = Simulation([joined(t1, t2, kind)])
        for one, must_be in zip(timeline(t1, t2), expected):
            simulation.play([one])
            check(f"table-table {kind} at {one.at_us // US}", pairs(simulation.states["v"].rows()), must_be)


def foreign_key():
    """One row fans out to many, and a row moves when its reference changes."""
    orders = Topic("orders", "upsert", {"id": "bigint", "k": "bigint"}, ["id"])
    customers = table("customers")
    a, b = Input("a", orders), Input("b", customers)
    view = View("v", [Arm([a, b], [Join("left", "b", [compare(b.column("k"), "=", a.column("k"))])], [],
                          [("left_val", a.column("id")), ("right_val", b.column("val"))])])
    simulation = Simulation([view])

    def order(number, customer):
        row = None if customer is None else {"id": number, "k": customer}
        return Record(orders, 0, 0, row, str(number))

    def state():
        return sorted((row["left_val"], row["right_val"]) for row in simulation.states["v"].rows())

    simulation.play([order(1, 7), order(2, 7), record(customers, 0, "x", 7)])
    check("foreign key: one to many", state(), [(1, "x"), (2, "x")])
    simulation.play([order(2, 8), record(customers, 0, "y", 7)])
    check("foreign key: moved away", state(), [(1, "y"), (2, None)])
    simulation.play([record(customers, 0, "z", 8), record(customers, 0, None, 7), order(1, None)])
    check("foreign key: deleted", state(), [(2, "z")])


def window_view(key, window, grace_s=None, final=False, retention_s=None, hop=None, source=None):
    one = Input("a", source or stream("s1"))
    arm = Arm([one], [], [], [], hop=hop, window_of="a")
    group = Group([("during", key), ("k", one.column("k"))], [("rows", count_rows()), ("vals", array_agg(one.column("val")))], window=window)
    return View("v", [arm], group, grace_us=None if grace_s is None else grace_s * US, final=final,
                retention_us=None if retention_s is None else retention_s * US)


def spans(rows):
    return sorted((row["during"][0] // US, row["during"][1] // US, "".join(row["vals"])) for row in rows)


def sessions():
    """SessionWindows: with a gap of 5, records at 10, 12, 20 are two sessions; one more between them merges all."""
    s1 = stream("s1")
    time = Input("a", s1).time
    simulation = Simulation([window_view(session(time, 5 * US), Window("during", None, None, 5 * US, time), source=s1)])
    simulation.play([record(s1, 10, "1"), record(s1, 12, "2"), record(s1, 20, "3")])
    check("sessions: two", spans(simulation.states["v"].rows()), [(10, 12, "12"), (20, 20, "3")])
    simulation.play([record(s1, 16, "4")])
    check("sessions: bridged", spans(simulation.states["v"].rows()), [(10, 20, "1234")])
    simulation.play([record(s1, 5, "5"), record(s1, 26, "6"), record(s1, 12, "7", key=2)])
    check("sessions: extended before, apart after, apart by key", spans(simulation.states["v"].rows()),
          [(5, 20, "12345"), (12, 12, "7"), (26, 26, "6")])


def sessions_close():
    """Gap 5, grace 2, final: a session comes when the frontier is 7 after its last event, and is never touched again."""
    s1 = stream("s1")
    time = Input("a", s1).time
    simulation = Simulation([window_view(session(time, 5 * US), Window("during", None, None, 5 * US, time), 2, True, source=s1)])
    simulation.play([record(s1, 10, "1"), record(s1, 16, "2")])
    check("final sessions: none yet", spans(simulation.states["v"].rows()), [])
    simulation.play([record(s1, 17, "3")])
    check("final sessions: the first", spans(simulation.states["v"].rows()), [(10, 10, "1")])
    simulation.play([record(s1, 11, "4"), record(s1, 3, "5"), record(s1, 40, "6")])
    check("final sessions: 11 merges with 16, 3 is late", spans(simulation.states["v"].rows()), [(10, 10, "1"), (11, 17, "234")])
    check("final sessions: late rows", simulation.states["v"].late_rows, 1)


def windows():
    s1 = stream("s1")
    time = Input("a", s1).time
    window = Window("during", lambda value: value[1])
    simulation = Simulation([window_view(tumble(time, 10 * US), window, 3, True, source=s1)])
    simulation.play([record(s1, 1, "a"), record(s1, 9, "b"), record(s1, 12, "c"), record(s1, 5, "d"), record(s1, 13, "e"), record(s1, 8, "f")])
    check("tumble final: closed at 13", spans(simulation.states["v"].rows()), [(0, 10, "abd")])
    check("tumble final: f is late", simulation.states["v"].late_rows, 1)
    hop = Hop("during", time, 10 * US, 4 * US)
    simulation = Simulation([window_view(hop.window, window, 0, source=s1, hop=hop)])
    simulation.play([record(s1, -1, "a"), record(s1, 12, "b"), record(s1, 3, "c")])
    check("hop: sizes that do not divide, before 1970, one window open for c", spans(simulation.states["v"].rows()),
          [(-8, 2, "a"), (-4, 6, "a"), (4, 14, "b"), (8, 18, "b"), (12, 22, "b")])
    check("hop: late pairs", simulation.states["v"].late_rows, 2)
    simulation = Simulation([window_view(tumble(time, 10 * US), window, retention_s=15, source=s1)])
    simulation.play([record(s1, 1, "a"), record(s1, 24, "b"), record(s1, 2, "c"), record(s1, 25, "d")])
    check("retention", spans(simulation.states["v"].rows()), [(20, 30, "bd")])
    check("retention: c is late, for grace is 0", simulation.states["v"].late_rows, 1)
    check("retention is silent", spans(simulation.states["v"].sink_rows()), [(0, 10, "a"), (20, 30, "bd")])


def readers_of_retention():
    """What a keyed view removes is gone for the views over it."""
    s1 = stream("s1")
    counted = window_view(tumble(Input("a", s1).time, 10 * US), Window("during", lambda value: value[1]), retention_s=15, source=s1)
    one = Input("c", counted)
    copied = View("w", [Arm([one], [], [], [("during", one.column("during")), ("vals", one.column("vals"))])], key=["during"])
    simulation = Simulation([counted, copied])
    simulation.play([record(s1, 1, "a"), record(s1, 24, "b")])
    check("readers of retention: up to the moment", spans(simulation.states["w"].rows()), [(0, 10, "a"), (20, 30, "b")])
    simulation.play([record(s1, 25, "c")])
    check("readers of retention", spans(simulation.states["w"].rows()), [(20, 30, "bc")])


def own_conditions():
    """A row that a condition of ON about it alone leaves out is late for nothing, unless it would be there without a match."""
    for kind, late in (("inner", 0), ("left", 1), ("right", 0), ("full", 1)):
        s1, s2 = stream("s1"), stream("s2")
        view = joined(s1, s2, kind, 10)
        view.arms[0].joins[0].on.append(compare(Input("a", s1).column("val"), "=", constant("yes", "text")))
        simulation = Simulation([view])
        simulation.play([record(s1, 100, "yes"), record(s2, 100, "x")])
        simulation.play([record(s1, 50, "no")])
        check(f"a late row of the first side that ON leaves out, {kind}", simulation.states["v"].late_rows, late)


def partitions():
    """Lateness is a partition's own; a window closes when the slowest partition has passed it."""
    s1 = stream("s1", 2)
    time = Input("a", s1).time
    simulation = Simulation([window_view(tumble(time, 10 * US), Window("during", lambda value: value[1]), 0, True, source=s1)])
    simulation.play([record(s1, 1, "a"), record(s1, 1, "b", partition=1)])
    simulation.play([record(s1, 30, "c"), record(s1, 5, "d"), record(s1, 6, "e", partition=1)])
    check("two partitions: nothing closed", spans(simulation.states["v"].rows()), [])
    check("two partitions: d is late", simulation.states["v"].late_rows, 1)
    simulation.play([record(s1, 11, "f", partition=1)])
    check("two partitions: closed", spans(simulation.states["v"].rows()), [(0, 10, "abe")])


def empty():
    s1 = stream("s1")
    view = View("v", [Arm([Input("a", s1)], [], [], [])], Group([], [("rows", count_rows()), ("greatest", simple("max", Input("a", s1).column("k")))]))
    check("an aggregate without rows", Simulation([view]).states["v"].rows(), [{"rows": 0, "greatest": None}])


for case in (stream_stream, stream_stream_unmatched, stream_table, table_table, foreign_key, sessions, sessions_close, windows, readers_of_retention, own_conditions, partitions, empty):
    case()
print("\n".join(failures) or "all timelines agree")
sys.exit(1 if failures else 0)
