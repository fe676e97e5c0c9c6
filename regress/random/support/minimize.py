"""Makes a failing plan small: one view with what it reads, then as few records as still fail."""
from harness import Failed
from play import Plan, play, with_uppers
from product import topics_of

MOST_PLAYS = 80


def minimized(plan, schema, view, text):
    """Gives a smaller plan that still fails, its view and the difference."""
    pipeline = next(pipeline for pipeline in plan.pipelines if view in pipeline.views)
    needed = with_uppers(view)
    small = pipeline.copy([one for one in pipeline.views if one in needed])
    topics = topics_of(view)
    best = Plan(topics, [[record for record in phase if record.topic in topics] for phase in plan.phases], [small], plan.batch_rows, plan.zone)
    plays = 0

    def fails(candidate):
        nonlocal plays, text
        plays += 1
        trial = Plan(candidate.topics, candidate.phases, [small.copy(list(small.views))],
                     candidate.batch_rows, plan.zone)
        try:
            outcome = play(trial, f"{schema}{plays}")
        except Failed as failed:
            print(f"minimize: {failed}", flush=True)
            return False
        for failing, found in outcome.failures:
            if failing is view:
                text = found
                return True
        return False

    if not fails(best):
        return plan, view, text + "\n(by itself it does not fail)"
    count = 2
    while plays < MOST_PLAYS:
        records = [(n, record) for n, phase in enumerate(best.phases) for record in phase]
        size = max(1, len(records) // count)
        for start in range(0, len(records), size):
            kept = records[:start] + records[start + size:]
            candidate = Plan(topics, [[r for n, r in kept if n == number] for number in range(len(best.phases))], [small], plan.batch_rows, plan.zone)
            if fails(candidate):
                best, count = candidate, max(2, count - 1)
                break
            if plays >= MOST_PLAYS:
                break
        else:
            if size == 1:
                break
            count = min(len(records), count * 2)
    return best, view, text
