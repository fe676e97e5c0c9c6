"""Plays one plan in the product and in the simulator, and compares them.

A plan is topics, records in phases, and pipelines of views with the phase before which each is created. What is the same for
batches of one record and for endless ones is compared; where it is not, the result depends on where batches end, and only a
plan that creates its views last, with kafka.batch_rows = 1, has the one order that the simulator plays.
"""
import os
import re
import subprocess
from dataclasses import dataclass, field

from definitions import View
from generate_data import create_topic_sql
from harness import SEPARATOR, Database, Failed, engine_state, escaped, kv_kafka, produce, wait_for_view
from product import create_sink, difference, expected_rows, folded_sink, sink_messages, topics_of, view_rows
from simulate import Simulation

ENDLESS = 1 << 40


@dataclass
class PipelinePlan:
    name: str
    views: list
    phase: int                      # created before the records of this phase are produced
    sinks: set = field(default_factory=set)


@dataclass
class Plan:
    topics: list
    phases: list
    pipelines: list
    batch_rows: int

    @property
    def exact(self):
        """One record a batch, all there before the views are: the order of everything is known."""
        return self.batch_rows == 1 and all(pipeline.phase == len(self.phases) for pipeline in self.pipelines)


@dataclass
class Outcome:
    compared: int = 0
    undetermined: int = 0
    rows: int = 0
    late: int = 0
    left_out: list = field(default_factory=list)    # (features, reason)
    refused: list = field(default_factory=list)     # (SQL, error): neither accepted nor told to be for a later version
    failures: list = field(default_factory=list)    # (view, text)


def play(plan, schema):
    """Plays a plan; gives its Outcome."""
    outcome = Outcome()
    database = Database(schema)
    database.run(f"ALTER SYSTEM SET kafka.batch_rows = {plan.batch_rows}; ALTER SYSTEM SET kafka.idle_timeout = 0; SELECT pg_reload_conf()")
    for topic in plan.topics:
        kv_kafka("create", kafka_name(database, topic.name), str(topic.partitions), "retention.ms=-1")
    database.run(";\n".join(create_topic_sql(topic, kafka_name(database, topic.name), schema) for topic in plan.topics))
    for number in range(len(plan.phases) + 1):
        for pipeline in plan.pipelines:
            if pipeline.phase == number:
                _create(database, pipeline, outcome)
        if number < len(plan.phases):
            if any(not record.topic.is_stream for record in plan.phases[number]):
                _wait(database, plan, number)
            _produce(database, plan.phases[number])
        _wait(database, plan, number)
    for pipeline in plan.pipelines:
        _compare(database, plan, pipeline, outcome)
    database.drop()
    return outcome


def kafka_name(database, name):
    return f"{database.topics}_{name}"


def _create(database, pipeline, outcome):
    """Creates a pipeline's views in one transaction; what is refused is left out, and what reads it."""
    script = ["\\set ON_ERROR_ROLLBACK on", "BEGIN"]
    for view in pipeline.views:
        script.append(f"\\warn === {view.name}\n{view.create(None if any(isinstance(s, View) for s in view.sources) else pipeline.name)}")
        if view.name in pipeline.sinks:
            kv_kafka("create", kafka_name(database, view.name), "2", "retention.ms=-1")
    done = subprocess.run(["psql", "-X", "-q", "-A", "-t", "-F", SEPARATOR], input=";\n".join(script).replace("on;", "on", 1) + ";\nCOMMIT;\n",
                          capture_output=True, text=True, env={**os.environ, "PGOPTIONS": database.options})
    errors = dict(block.split("\n", 1) for block in done.stderr.split("=== ")[1:])
    accepted = []
    for view in pipeline.views:
        error = errors[view.name]
        if "ERROR" not in error:
            accepted.append(view)
        elif any(isinstance(source, View) and source not in accepted for source in view.sources):
            outcome.left_out.append((view.features, "what it reads was left out"))
        elif re.search("[Tt]his version|function kafka[.].* does not exist", error):
            outcome.left_out.append((view.features, re.search("ERROR:  (.*)", error).group(1)))
        else:
            outcome.refused.append((view.create(), error.strip()))
    pipeline.views = accepted
    for view in accepted:
        if view.name in pipeline.sinks:
            table, attach = create_sink(database, view, kafka_name(database, view.name))
            database.run(f"{table};\n{attach}")


def _produce(database, records):
    """Produces records, those of one topic that follow each other at once."""
    at = 0
    while at < len(records):
        end = at
        while end < len(records) and records[end].topic is records[at].topic:
            end += 1
        produce(kafka_name(database, records[at].topic.name),
                [(record.partition, record.at_us // 1000, record.key, record.text) for record in records[at:end]])
        at = end


def _wait(database, plan, number):
    for pipeline in plan.pipelines:
        if pipeline.phase <= number and pipeline.views:
            wait_for_view(database, pipeline.views[-1].name)


def simulate(plan, pipeline, batch_rows):
    """Plays a pipeline's phases; what was produced before it was created is one phase, tables first."""
    simulation = Simulation(pipeline.views, batch_rows)
    before = [record for phase in plan.phases[:pipeline.phase] for record in phase]
    looks_up = any(view.stream_driven and view.bootstrap and any(not source.is_stream for source in view.sources) for view in pipeline.views)
    simulation.play(before, looks_up)
    for phase in plan.phases[pipeline.phase:]:
        simulation.play(phase)
    return simulation


def _compare(database, plan, pipeline, outcome):
    one = simulate(plan, pipeline, 1)
    endless = one if plan.exact else simulate(plan, pipeline, ENDLESS)
    for view in pipeline.views:
        state = one.states[view.name]
        must_be = expected_rows(view, state.rows())
        published = expected_rows(view, state.sink_rows())
        other = endless.states[view.name]
        if (state.late_rows != other.late_rows or sorted(must_be) != sorted(expected_rows(view, other.rows())) or
                sorted(published) != sorted(expected_rows(view, other.sink_rows()))):
            outcome.undetermined += 1
            continue
        outcome.compared += 1
        outcome.rows += len(must_be)
        outcome.late += state.late_rows
        text = difference(f"view {view.name}", view_rows(database, view), must_be)
        late = database.value(f"SELECT late_rows FROM kafka.views WHERE view = '{view.name}'::regclass")
        if int(late) != state.late_rows:
            text += f"\nview {view.name}: {late} late rows, must be {state.late_rows}"
        if view.name in pipeline.sinks:
            try:
                text += "\n" + difference(f"sink of {view.name}", folded_sink(view, sink_messages(kafka_name(database, view.name))), published)
            except Failed as failed:
                text += f"\n{failed}"
        if text.strip():
            outcome.failures.append((view, text.strip()))
    if pipeline.views:
        dead = database.value("SELECT count(*) FROM kafka_state.dead_letter JOIN kafka_state.view v USING (pipeline)"
                              f" WHERE v.relation = '{pipeline.views[0].name}'::regclass")
        if int(dead) != one.dead_letters:
            outcome.failures.append((pipeline.views[0], f"pipeline of {pipeline.views[0].name}: {dead} dead letters, must be {one.dead_letters}\n"
                                                        f"{engine_state(database)}"))


def reproduction(plan, view):
    """A script for bash, with psql and kv_kafka, of a view, what it reads and the records of its topics."""
    pipeline = next(pipeline for pipeline in plan.pipelines if view in pipeline.views)
    topics, needed = topics_of(view), with_uppers(view)
    lines = ["psql -qXAt <<'END'", "CREATE SERVER s FOREIGN DATA WRAPPER kafka OPTIONS (bootstrap_servers '127.0.0.1:9092');    -- as it is",
             f"ALTER SYSTEM SET kafka.batch_rows = {plan.batch_rows}; ALTER SYSTEM SET kafka.idle_timeout = 0; SELECT pg_reload_conf();", "SET timezone = 'UTC';"]
    lines += [create_topic_sql(topic, topic.name, "s") + ";" for topic in topics] + ["END"]
    lines += [f"kv_kafka create {topic.name} {topic.partitions} retention.ms=-1" for topic in topics]
    for number in range(len(plan.phases) + 1):
        if number == pipeline.phase:
            lines += ["psql -qXAt <<'END'", "SET timezone = 'UTC';"] + [one.create() + ";" for one in pipeline.views if one in needed] + ["END"]
        for topic in topics if number < len(plan.phases) else []:
            records = [record for record in plan.phases[number] if record.topic is topic]
            if records:
                lines.append(f"kv_kafka produce {topic.name} --copy --full <<'END'")
                lines += ["\t".join([str(r.partition), str(r.at_us // 1000), escaped(r.key), escaped(r.text)]) for r in records] + ["END"]
        if number >= pipeline.phase:
            lines.append(f"psql -qXAtc \"SELECT kafka.wait_for_view('{view.name}')\"")
    lines.append(f"psql -qXAtc 'TABLE {view.name}'")
    return "\n".join(lines)


def with_uppers(view):
    """A view and all views it reads, directly or not."""
    found = [view]
    for source in view.sources:
        if isinstance(source, View):
            found += [one for one in with_uppers(source) if one not in found]
    return found
