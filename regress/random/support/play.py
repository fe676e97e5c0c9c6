"""Plays one plan in the product and in the simulator, and compares them.

A plan is topics, records in phases, and pipelines of views with the phase before which each is created. What does not depend on
where batches end (simulate.py says how that is known) is compared. A plan that creates its views last, with kafka.batch_rows = 1,
has one order of everything, which the simulator plays.
"""
import os
import re
import subprocess
import time
from collections import Counter
from dataclasses import dataclass, field

from definitions import Relation, Topic, View
from generate_data import create_relation_sql, create_topic_sql
from harness import SEPARATOR, WAIT, Database, Failed, engine_state, escaped, hexadecimal, kv_kafka, produce
from product import create_sink, difference, expected_rows, folded_sink, read_views, sink_messages, topics_of, verified
from simulate import Simulation

ENDLESS = 1 << 40


@dataclass
class PipelinePlan:
    name: str
    views: list
    phase: int                      # created before the records of this phase are produced
    sinks: set = field(default_factory=set)
    later: set = field(default_factory=set)    # names of views that are created over the others when these run
    later_phase: int = 0
    made: list = field(default_factory=list)    # views that are there

    def copy(self, views):
        return PipelinePlan(self.name, views, self.phase, self.sinks, self.later, self.later_phase)


@dataclass
class Plan:
    topics: list
    phases: list
    pipelines: list
    batch_rows: int
    zone: str = "UTC"

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
    features: Counter = field(default_factory=Counter)    # of the views that were compared


def play(plan, schema, disturb=None):
    """Plays a plan; gives its Outcome. disturb(database, pipelines) is called when views are made and records on their way."""
    outcome = Outcome()
    database = Database(schema, plan.zone)
    database.run(f"ALTER SYSTEM SET kafka.batch_rows = {plan.batch_rows}; ALTER SYSTEM SET kafka.idle_timeout = 0; SELECT pg_reload_conf()")
    for topic in plan.topics:
        if not isinstance(topic, Relation):
            _create_topic(kafka_name(database, topic.name), topic.partitions)
    database.run(";\n".join(_create_input(topic, kafka_name(database, topic.name), schema) for topic in plan.topics))
    for number in range(len(plan.phases) + 2):
        for pipeline in plan.pipelines:
            if pipeline.phase == number:
                _create(database, pipeline, [view for view in pipeline.views if view.name not in pipeline.later], outcome)
            if pipeline.later and pipeline.later_phase == number:
                _create(database, pipeline, [view for view in pipeline.views if view.name in pipeline.later], outcome)
        if number < len(plan.phases):
            if any(not record.topic.is_stream for record in plan.phases[number]):
                _wait(database, plan)
            _produce(database, plan.phases[number])
        there = [pipeline.name for pipeline in plan.pipelines if pipeline.made]
        if disturb and there:
            disturb(database, there)
        _wait(database, plan)
    for pipeline in plan.pipelines:
        pipeline.views = pipeline.made
    found = read_views(database, [view for pipeline in plan.pipelines for view in pipeline.views])
    for pipeline in plan.pipelines:
        _compare(database, plan, pipeline, found, outcome)
    database.drop()
    names = [topic.name for topic in plan.topics if not isinstance(topic, Relation)] + [name for pipeline in plan.pipelines for name in pipeline.sinks]
    kv_kafka("delete", *(kafka_name(database, name) for name in names))
    return outcome


def _create_topic(name, partitions):
    """Creates a topic. A broker that is out of breath takes itself for dead ("fenced") for a moment."""
    for left in reversed(range(10)):
        try:
            kv_kafka("create", name, str(partitions), "retention.ms=-1")
            return
        except Failed as failed:
            if left == 0 or "fenced" not in str(failed):
                raise
            time.sleep(1)


def _create_input(topic, name, server):
    return create_relation_sql(topic) if isinstance(topic, Relation) else create_topic_sql(topic, name, server)


def kafka_name(database, name):
    return f"{database.topics}_{name}"


def _create(database, pipeline, views, outcome):
    """Creates some of a pipeline's views in one transaction; what is refused is left out, and what reads it."""
    script = "\\set ON_ERROR_ROLLBACK on\nBEGIN;\n"
    sinks_later = {}
    for view in views:
        script += f"\\warn === {view.name}\n{view.create(None if any(isinstance(s, View) for s in view.sources) else pipeline.name)};\n"
        if view.name not in pipeline.sinks:
            continue
        _create_topic(kafka_name(database, view.name), 2)
        statements = create_sink(database, view, kafka_name(database, view.name))
        if view.stored and view.sink_later:
            sinks_later[view.name] = ";\n".join(statements)
        else:
            script += f"\\warn === sink of {view.name}\n" + ";\n".join(statements) + ";\n"
    done = subprocess.run(["psql", "-X", "-q", "-A", "-t", "-F", SEPARATOR], input=script + "COMMIT;\n",
                          capture_output=True, text=True, env={**os.environ, "PGOPTIONS": database.options})
    errors = dict(block.split("\n", 1) for block in done.stderr.split("=== ")[1:])
    for view in views:
        error = errors[view.name]
        if "ERROR" not in error:
            pipeline.made.append(view)
            if "ERROR" in errors.get(f"sink of {view.name}", ""):
                outcome.refused.append((";\n".join(create_sink(database, view, "topic")), errors[f"sink of {view.name}"].strip()))
                pipeline.sinks.discard(view.name)
        elif any(isinstance(source, View) and source not in pipeline.made for source in view.sources):
            outcome.left_out.append((view.features, "what it reads was left out"))
        elif re.search("[Tt]his version", error):
            outcome.left_out.append((view.features, re.search("ERROR:  (.*)", error).group(1)))
        else:
            outcome.refused.append((view.create(), error.strip()))
    database.run(";\n".join(text for name, text in sinks_later.items() if name in [view.name for view in pipeline.made]))


def _produce(database, records):
    """Produces records, those of one topic that follow each other at once."""
    at = 0
    while at < len(records):
        end = at
        while end < len(records) and records[end].topic is records[at].topic:
            end += 1
        produce(kafka_name(database, records[at].topic.name),
                [(record.partition, record.at_us // 1000, record.key_bytes, record.text) for record in records[at:end]])
        at = end


def _wait(database, plan):
    """Waits for all pipelines that are there, in one script."""
    names = [pipeline.made[-1].name for pipeline in plan.pipelines if pipeline.made]
    waits = ", ".join(f"kafka.wait_for_view('{name}', '{WAIT}')" for name in names)
    if names and "f" in database.run(f"SET statement_timeout = 0; SELECT {waits}")[0]:
        raise Failed(f"{', '.join(names)}: not caught up after {WAIT}\n{engine_state(database)}")


def simulate(plan, pipeline, batch_rows, foresight=False):
    """Plays a pipeline's phases; what was produced before it was created is one phase, tables first."""
    simulation = Simulation(pipeline.views, batch_rows, foresight)
    before = [record for phase in plan.phases[:pipeline.phase] for record in phase]
    looks_up = any(view.stream_driven and view.bootstrap and any(not source.is_stream and not isinstance(source, Relation) for source in view.sources)
                   for view in pipeline.views)
    simulation.play(before, looks_up)
    for phase in plan.phases[pipeline.phase:]:
        simulation.play(phase)
    return simulation


def _compare(database, plan, pipeline, found, outcome):
    one = simulate(plan, pipeline, 1 if plan.exact else ENDLESS)
    other = one if plan.exact else simulate(plan, pipeline, ENDLESS, foresight=True)
    unknown = set()
    for view in pipeline.views:
        state = one.states[view.name]
        must_be = expected_rows(view, state.rows())
        published = expected_rows(view, state.sink_rows())
        if unknown & {source.name for source in view.sources} or not _is_same(view, state, other.states[view.name]):
            unknown.add(view.name)
            outcome.undetermined += 1
            continue
        outcome.compared += 1
        outcome.rows += len(must_be)
        outcome.late += state.late_rows
        outcome.features.update(view.features | _made_of(view) | _used(pipeline, view, state))
        text = difference(f"view {view.name}", found[view.name].rows, must_be) if view.stored else ""
        if found[view.name].late != state.late_rows:
            text += f"\nview {view.name}: {found[view.name].late} late rows, must be {state.late_rows}"
        if view.name in pipeline.sinks:
            try:
                text += "\n" + difference(f"sink of {view.name}", folded_sink(view, sink_messages(kafka_name(database, view.name))), published)
            except Failed as failed:
                text += f"\n{failed}"
        if view.stored and _has_oracle(view, one):
            outcome.features["verified"] += 1
            text += "\n" + verified(database, view)
        if text.strip():
            outcome.failures.append((view, text.strip()))
    if pipeline.views:
        dead = found[pipeline.views[0].name].dead_letters
        if dead != one.dead_letters:
            outcome.failures.append((pipeline.views[0], f"pipeline of {pipeline.views[0].name}: {dead} dead letters, must be {one.dead_letters}\n"
                                                        f"{engine_state(database)}"))


def _made_of(view):
    """What a view's place among the others says of it."""
    uppers = [source for source in view.sources if isinstance(source, View)]
    ways = Counter(name for source in set_of(view.sources) for name in {one.name for one in with_inputs(source)})
    found = {f"storey_{_storeys(view)}"} if uppers else set()
    if any(count > 1 for count in ways.values()):
        found.add("diamond")
    return found | {f"key_{topic.key_format}" for topic in topics_of(view) if topic.key_format}


def _used(pipeline, view, state):
    """What it had to do."""
    found = {"sink"} if view.name in pipeline.sinks else set()
    found |= {f"sink_key_{view.sink_key_format}"} if found and view.sink_key_format else set()
    found |= {"late"} if state.late_rows else set()
    found |= {"created_later"} if view.name in pipeline.later else set()
    return found | ({"retention_used"} if view.retention_us is not None and len(state.rows()) < len(state.sink_rows()) else set())


def _storeys(view):
    return 1 + max((_storeys(source) for source in view.sources if isinstance(source, View)), default=0)


def set_of(sources):
    return {source.name: source for source in sources}.values()


def with_inputs(source):
    """A topic or view with all that it is made of."""
    return [source] + ([one for other in set_of(source.sources) for one in with_inputs(other)] if isinstance(source, View) else [])


def _has_oracle(view, simulation):
    """Must the view equal its query over all records, as kafka.verify sees them? What a stored view has lost is no concern of those over it."""
    looks_up = view.stream_driven and any(not source.is_stream for source in view.sources)
    state = simulation.states[view.name]
    if looks_up or state.late_rows or state.has_parted or any(_forgets(source) for source in view.sources):
        return False
    return all(source.stored or _has_oracle(source, simulation) for source in view.sources if isinstance(source, View))


def _forgets(source):
    """Does a stream have rows no more that it gave?"""
    return isinstance(source, View) and ((source.is_stream and source.retention_us is not None) or any(_forgets(upper) for upper in source.sources))


def _is_same(view, state, other):
    return (state.late_rows == other.late_rows and sorted(expected_rows(view, state.rows())) == sorted(expected_rows(view, other.rows()))
            and sorted(expected_rows(view, state.sink_rows())) == sorted(expected_rows(view, other.sink_rows())))


def reproduction(plan, view):
    """A script for bash, with psql and kv_kafka, of a view, what it reads and the records of its topics."""
    pipeline = next(pipeline for pipeline in plan.pipelines if view in pipeline.views)
    topics, needed = topics_of(view), with_uppers(view)
    lines = ["psql -qXAt <<'END'", "CREATE SERVER s FOREIGN DATA WRAPPER kafka OPTIONS (bootstrap_servers '127.0.0.1:9092');    -- as it is",
             f"ALTER SYSTEM SET kafka.batch_rows = {plan.batch_rows}; ALTER SYSTEM SET kafka.idle_timeout = 0; SELECT pg_reload_conf();", f"SET timezone = '{plan.zone}';"]
    lines += [_create_input(topic, topic.name, "s") + ";" for topic in topics] + ["END"]
    lines += [f"kv_kafka create {topic.name} {topic.partitions} retention.ms=-1" for topic in topics if not isinstance(topic, Relation)]
    for number in range(len(plan.phases) + 2):
        made = [one.create() + ";" for one in pipeline.views if one in needed and number == (pipeline.later_phase if one.name in pipeline.later else pipeline.phase)]
        if made:
            lines += ["psql -qXAt <<'END'", f"SET timezone = '{plan.zone}';"] + made + ["END"]
        for topic in topics if number < len(plan.phases) else []:
            records = [record for record in plan.phases[number] if record.topic is topic]
            if records:
                form, write = ("hex", hexadecimal) if topic.key_format == "kafka" else ("copy", escaped)
                lines.append(f"kv_kafka produce {topic.name} --{form} --full <<'END'")
                lines += ["\t".join([str(r.partition), str(r.at_us // 1000), write(r.key_bytes), write(r.text)]) for r in records] + ["END"]
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
