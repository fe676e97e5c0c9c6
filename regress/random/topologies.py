"""Random topologies against the reference simulator.

Each round makes a world of topics and records (support/generate_data.py) and some eight views in a few pipelines over it
(support/generate_views.py), plays them in the product and in the simulator (support/simulate.py), and compares the rows of
every view, both ways and with multiplicity, its sink as a consumer folds it, and the count of late rows.

SEED=... ROUND=... repeats a round; N is the number of topologies (50); FOCUS=session,stream_full asks for features. A failure prints the view, the difference, and a script
with all it takes; MINIMIZE=1 first takes away what the failure does not need.
"""
import os
import random
import re
import subprocess
import sys
import time
from collections import Counter

sys.dont_write_bytecode = True
sys.path.insert(0, __file__.rsplit("/", 1)[0] + "/support")
from definitions import View
from generate_data import World
from generate_views import ViewMaker
from harness import Failed
from minimize import minimized
from play import PipelinePlan, Plan, play, reproduction
from product import can_have_sink


NOT_YET = set()    # features that the product takes and does not have; those it refuses are left out by themselves
FOCUS = set(filter(None, os.environ.get("FOCUS", "").split(",")))    # features that two thirds of the views must have one of


def make_view(maker, views):
    focus = FOCUS if maker.rng.random() < 0.66 else set()
    for _ in range(500):
        view = maker.make(views)
        if not view.features & NOT_YET and (not focus or view.features & focus):
            break
    return view


def make_plan(rng):
    exact = rng.random() < 0.3
    world = World(rng, exact)
    maker = ViewMaker(rng, world)
    batch_rows = 1 if exact else rng.choice([1, 3, 20, 1000, 100000])
    phases = world.phases
    pipelines = []
    for number in range(rng.choice([2, 3, 4])):
        views = []
        for _ in range(rng.choice([1, 2, 3, 4, 5])):
            views.append(make_view(maker, views))
        phase = len(phases) if exact else rng.choice([0, 0, 1, rng.randrange(len(phases) + 1)])
        sinks = {view.name for view in views if not view.stored or (can_have_sink(view) and rng.random() < 0.5)}
        later = set()
        for view in views:
            if may_come_later(view) and (rng.random() < 0.3 or any(source.name in later for source in view.sources)):
                later.add(view.name)
        # what reads a view that comes later comes with it, or not at all
        views = [view for view in views if view.name in later or not any(source.name in later for source in view.sources)]
        pipelines.append(PipelinePlan(f"p{number}", views, phase, sinks & {view.name for view in views}, later, rng.randrange(phase + 1, len(phases) + 2)))
    return Plan(world.topics, phases, pipelines, batch_rows, world.zone)


def may_come_later(view):
    """Is a view over views that run the same as one that has been there from the beginning? Not where it has seen time pass."""
    if not all(isinstance(source, View) and source.stored for source in view.sources):
        return False
    if not view.stream_driven:
        return True
    closes = view.final or view.grace_us is not None or view.retention_us is not None or (view.group and view.group.window and view.group.window.gap_us)
    return not closes and all(len(arm.inputs) == 1 for arm in view.arms) and all(source.retention_us is None for source in view.sources)


def disturbance(rng, count):
    """Gives what ends or pauses processes in the middle, mostly nothing; counts what it does."""
    if rng.random() > 0.3:
        return None

    def disturb(database, pipelines):
        if rng.random() < 0.6:
            return
        name = rng.choice(pipelines)
        what = rng.choice(["worker ended", "publisher ended", "paused", "postmaster killed"])
        count[what] += 1
        if what == "postmaster killed":
            kill_postmaster()
        else:
            database.run({
                "worker ended": f"SELECT pg_terminate_backend(pid) FROM kafka.pipelines WHERE pipeline = '{name}'",
                "publisher ended": "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE backend_type = 'kafka_views publisher'",
                "paused": f"SELECT kafka.pause('{name}'); SELECT kafka.resume('{name}')"}[what])
    return disturb


def kill_postmaster():
    """Kills the cluster and starts it again: buffers that are not logged are empty then, and reloaded."""
    script, folder = __file__.rsplit("/", 3)[0] + "/scripts/cluster", os.path.dirname(os.environ["PGDATA"])
    for action in ("kill", "start"):
        done = subprocess.run([script, action, folder], capture_output=True, text=True)
        if done.returncode != 0:
            raise Failed(f"cluster {action}: {done.stderr}")


def report(plan, schema, failures):
    for view, text in failures:
        if os.environ.get("MINIMIZE"):
            plan, view, text = minimized(plan, schema, view, text)
        print(f"\n{text}\n\n-- features: {', '.join(sorted(view.features))}\n{reproduction(plan, view)}\n", flush=True)
        if os.environ.get("MINIMIZE"):
            break


def main():
    seed = int(os.environ.get("SEED") or random.SystemRandom().randrange(1 << 31))
    only, wanted = os.environ.get("ROUND"), int(os.environ.get("N") or 50)
    print(f"SEED={seed}", flush=True)
    number, compared, undetermined, failed = int(only or 1), 0, 0, 0
    left_out, features, disturbed = Counter(), Counter(), Counter()
    while compared < wanted:
        started = time.monotonic()
        rng = random.Random(f"{seed}/{number}")
        plan = make_plan(rng)
        schema = f"r{number}"
        try:
            outcome = play(plan, schema, disturbance(rng, disturbed))
        except Failed as stopped:    # no result: a pipeline that stands still, for one
            failed += 1
            print(f"FAILED: repeat with SEED={seed} ROUND={number}\n{stopped}", flush=True)
            if only or not os.environ.get("GO_ON"):
                break
            number += 1
            continue
        compared += outcome.compared
        for names, reason in outcome.left_out:
            left_out[re.sub('view "v[0-9]+"', "the view", reason)] += 1
        features.update(outcome.features)
        undetermined += outcome.undetermined
        print(f"round {number}: {outcome.compared} views, {outcome.rows} rows, {outcome.late} late, batch_rows {plan.batch_rows},"
              f" {len(outcome.left_out)} left out, {outcome.undetermined} undetermined ({time.monotonic() - started:.1f} s)", flush=True)
        for sql, error in outcome.refused:
            failed += 1
            print(f"FAILED: repeat with SEED={seed} ROUND={number}: refused, though it can be maintained:\n{sql}\n{error}", flush=True)
        if outcome.failures:
            failed += len(outcome.failures)
            print(f"FAILED: repeat with SEED={seed} ROUND={number}", flush=True)
            report(plan, schema + "m", outcome.failures)
        if only or (failed and not os.environ.get("GO_ON")):
            break
        number += 1
    for reason, count in sorted(left_out.items()):
        print(f"left out {count} times: {reason}")
    print("features compared: " + ", ".join(f"{name} {count}" for name, count in sorted(features.items())))
    print("disturbed: " + ", ".join(f"{what} {count}" for what, count in sorted(disturbed.items())))
    print(f"SEED={seed}: {compared} topologies compared, {undetermined} undetermined, {failed} failures")
    sys.exit(1 if failed else 0)


try:
    main()
except Failed as stopped:
    print(f"FAILED: {stopped}", flush=True)
    sys.exit(1)
