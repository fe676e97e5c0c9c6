"""The reference simulator: plays records through views, record at a time, slow and obvious.

Written from section 2 of DESIGN.md, not from the C code, and it asks no database. Its subjects: here time, order and batches;
simulate_rows.py joins and lateness; simulate_groups.py aggregates, windows and sessions; simulate_tables.py views of tables.

What a result may depend on besides the records is an argument: batch_rows, because a batch's rows are judged by the closed
frontier before it, and the phases, because what is produced later is processed later. Within a phase nobody knows where batches end
and which partition comes first; but a frontier lies between that before the phase and, with foresight, that after it (and never
beyond the stream time of the record's partition before it, which holds the frontier back). Lateness only grows with it: where both
give the same result, it is determined.

No clock runs here, so nothing ever becomes idle, as under kafka.idle_timeout = 0: a topic that never had a record holds back the
time of its views.
"""
from dataclasses import dataclass

from definitions import Record, Relation, View
from simulate_groups import Groups
from simulate_rows import ALWAYS, NEVER, ArmRows, StreamRow
from simulate_tables import table_rows

DEFAULT_GRACE_US = 600_000_000


@dataclass
class PartitionTime:
    stream_time: int = NEVER


class ViewState:
    """One view: its time, its late rows, its result and what went to its sink."""

    def __init__(self, definition, simulation):
        self.definition = definition
        self.watermark = self.frontier = self.next_frontier = self.foreseen = NEVER
        self.late = 0
        self.result = []            # of an append-only view: (row, event time)
        self.published = []         # of an append-only view: rows
        grace = definition.grace_us if definition.grace_us is not None else DEFAULT_GRACE_US
        self.arms = [ArmRows(arm, grace, simulation) for arm in definition.arms] if definition.stream_driven else []
        grouped = definition.group or definition.distinct or definition.distinct_on
        self.groups = Groups(definition) if definition.stream_driven and grouped else None
        self.simulation = simulation

    @property
    def output_delay(self):
        """How much older than its inputs' watermark the time of a new row can be: rows of windows are made when these close."""
        view = self.definition
        if view.final:
            return self.window_delay + (view.grace_us or 0) + (0 if view.time_is_end else view.group.window.length_us or 0)
        return max((arm.output_delay(view.time_of) for arm in self.arms), default=0)

    @property
    def window_delay(self):
        """The same for the time that its windows are of."""
        return max((arm.output_delay(arm.definition.window_of) for arm in self.arms), default=0)

    def take(self, news):
        """Takes the new rows of its streams ({source name: StreamRows}); gives its own new rows where it is a stream."""
        outputs = []
        for arm in self.arms:
            for one in arm.definition.streams:
                for row in news.get(one.source.name, []):
                    outputs += arm.take(one.alias, row, self.judging_frontier)
        return self._add(outputs)

    def close(self):
        """The end of a batch: what the frontier that was reached closes."""
        outputs = [output for arm in self.arms for output in arm.close(self.next_frontier)]
        made = self._add(outputs)
        if self.groups:
            made += self._stream_rows([(row, ALWAYS) for row in self.groups.close(self._group_frontier(self.next_frontier))])
        else:
            self._expire()
        self.frontier = self.next_frontier
        return made

    @property
    def judging_frontier(self):
        """What rows are judged by: the frontier before the batch, or the farthest there could be."""
        return max(self.frontier, self.foreseen)

    def _group_frontier(self, frontier):
        """Windows over a join follow the join's output watermark."""
        return frontier if frontier == NEVER or not self.groups.window else frontier - self.window_delay

    def _add(self, outputs):
        """Adds rows of the arms to the result, or to groups."""
        if self.groups:
            for output in outputs:
                self.groups.take(output, self._group_frontier(min(self.judging_frontier, output.most)))
            return []
        rows = []
        for output in outputs:
            row = {name: e.value(output.env) for name, e in output.arm.columns}
            if self._beyond_retention(row, max(output.before, min(self.judging_frontier, output.most))):
                self.late += 1
            else:
                rows.append((row, output.most))
        return self._stream_rows(rows)

    def _stream_rows(self, rows):
        """Notes rows that are there for good, and gives them as a stream."""
        made = []
        for row, most in rows:
            time = row[self.definition.time] if self.definition.time else None
            self.published.append(row)
            self.result.append((row, time))
            made.append(StreamRow(row, time, NEVER, most))
        return made

    def _beyond_retention(self, row, reached):
        view = self.definition
        return view.retention_us is not None and row[view.time] + view.retention_us <= reached

    def _expire(self):
        view = self.definition
        if view.retention_us is not None:
            self.result = [(row, time) for row, time in self.result if time + view.retention_us > self.next_frontier]

    @property
    def late_rows(self):
        return self.late + sum(arm.late for arm in self.arms) + (self.groups.late if self.groups else 0)

    @property
    def has_parted(self):
        """Has a row come beside a session that had closed?"""
        return bool(self.groups and self.groups.apart)

    def rows(self):
        """The rows of the view as they are now."""
        if not self.definition.stream_driven:
            return table_rows(self.definition, self.simulation.table_of)
        if self.groups and not self.definition.final:
            return self.groups.rows()
        if self.groups:
            return self.groups.kept(self.result)
        return [row for row, _ in self.result]

    def sink_rows(self):
        """An append topic's messages; an upsert topic's last value per key."""
        if not self.definition.stream_driven:
            return self.rows()
        if self.groups and not self.definition.final:
            return self.groups.published_rows()
        return self.published


class Simulation:
    """One pipeline: views in the order of their creation, over topics."""

    def __init__(self, views, batch_rows=1, foresight=False):
        self.batch_rows = batch_rows
        self.foresight = foresight
        self.tables = {}                    # topic name: {key: row}
        self.times = {}                     # topic name: {partition: PartitionTime}
        self.watermarks = {}                # topic name: the last one
        self.topics = []
        self.dead_letters = 0
        self.states = {}
        for view in views:
            self._add_topics(view)
            self.states[view.name] = ViewState(view, self)
        self.in_batch = 0

    def _add_topics(self, view):
        for source in view.sources:
            if not isinstance(source, View) and source.name not in self.times:
                self.topics.append(source)
                self.times[source.name] = {n: PartitionTime() for n in range(source.partitions)}
                self.tables[source.name] = dict(enumerate(source.rows)) if isinstance(source, Relation) else {}

    def table_of(self, source):
        """The rows of a table, or of a keyed view, as they are now."""
        if isinstance(source, View):
            return self.states[source.name].rows()
        return list(self.tables[source.name].values())

    def play(self, records, tables_first=False):
        """Processes what was produced since the last time, in processing order, to its end."""
        waiting = {}
        for record in records:
            if record.topic.name in self.times:
                waiting.setdefault((record.topic.name, record.partition), []).append(record)
        if self.foresight:
            self._foresee(waiting)
        if tables_first:
            self._play({place: some for place, some in waiting.items() if not some[0].topic.is_stream})
        self._play({place: some for place, some in waiting.items() if some})
        self._end_batch()

    def _foresee(self, waiting):
        """Sets the frontiers that all these records may reach, before any of them is processed."""
        reached = {}
        for topic in self.topics:
            times = []
            for number, time in self.times[topic.name].items():
                rows = [record.time for record in waiting.get((topic.name, number), []) if not record.bad and record.row is not None]
                times.append(max([time.stream_time] + rows))
            times = [time for time in times if time != NEVER]
            if times:
                reached[topic.name] = max(self.watermarks.get(topic.name, NEVER), min(times))
        for name, state in self.states.items():
            state.foreseen = max(state.frontier, self._least(state, reached, lambda upper: upper.foreseen))

    def _play(self, waiting):
        """Merges the partitions: (stream time at the record, tables first, topic, partition), offsets in order."""
        while any(waiting.values()):
            place = min((place for place in waiting if waiting[place]), key=lambda place: self._place(place, waiting[place][0]))
            self._record(waiting[place].pop(0))
            self.in_batch += 1
            if self.in_batch >= self.batch_rows:
                self._end_batch()

    def _place(self, place, record):
        name, partition = place
        number = [topic.name for topic in self.topics].index(name)
        return (self._time_after(record), record.topic.is_stream, number, partition)

    def _time_after(self, record):
        stream_time = self.times[record.topic.name][record.partition].stream_time
        if record.bad or (record.row is None and record.topic.is_stream):
            return stream_time
        return max(stream_time, record.time)

    def _record(self, record: Record):
        time = self.times[record.topic.name][record.partition]
        before = time.stream_time
        time.stream_time = self._time_after(record)
        if record.bad:
            self.dead_letters += 1
        elif not record.topic.is_stream:
            self._change_table(record)
        elif record.row is not None:
            self._drive({record.topic.name: [StreamRow(record.row, record.time, before, ALWAYS if before == NEVER else before)]})

    def _change_table(self, record):
        table = self.tables[record.topic.name]
        if record.row is None:
            table.pop(record.key, None)
        else:
            table[record.key] = record.row

    def _drive(self, news):
        """Gives new rows to the views, in the order of their creation, and theirs to those after them."""
        for name, state in self.states.items():
            made = state.take(news)
            if state.definition.is_stream:
                news[name] = made

    def _end_batch(self):
        self.in_batch = 0
        for topic in self.topics:
            times = [time.stream_time for time in self.times[topic.name].values() if time.stream_time != NEVER]
            if times:
                self.watermarks[topic.name] = min(times)
        for state in self.states.values():
            state.watermark = self._least(state, self.watermarks, lambda upper: upper.watermark)
            state.next_frontier = max(state.frontier, state.watermark)
        news = {}
        for name, state in self.states.items():
            made = state.take(news) + state.close()
            if state.definition.is_stream:
                news[name] = made

    def _least(self, state, of_topics, of_view):
        """The least time of its driving inputs; without one of them, none."""
        times = []
        for source in state.definition.sources:
            if not source.is_stream:
                continue
            if isinstance(source, View):
                upper = self.states[source.name]
                times.append(NEVER if of_view(upper) == NEVER else of_view(upper) - upper.output_delay)
            else:
                times.append(of_topics.get(source.name, NEVER))
        return min(times, default=NEVER)
