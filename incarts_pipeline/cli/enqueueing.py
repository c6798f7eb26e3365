"""Enqueuing from the shell: what `incarts apply --enqueue` does, and what it tells."""

from __future__ import annotations

from typing import TYPE_CHECKING

from incarts_pipeline.cli import screen
from incarts_pipeline.cli.answers import EnqueueAnswer

if TYPE_CHECKING:
    from incarts_pipeline.plan import Plan
    from incarts_pipeline.settings import Settings
    from incarts_pipeline.workers import EnqueueResult
    from incarts_pipeline.write import WriteOptions


def enqueue(
    made: Plan, settings: Settings, output: str, options: WriteOptions, *, as_json: bool
) -> int:
    """Enqueue a plan that was agreed to, tell what came of it, and return the exit code."""
    from incarts_pipeline.sync import run_blocking
    from incarts_pipeline.workers import enqueue_plan

    result = run_blocking(
        lambda stop: enqueue_plan(made, settings, output, options=options, stop=stop)
    )
    if as_json:
        screen.tell_json(enqueue_answer(result))
    else:
        for line in str(result).splitlines():
            screen.say(line, err=True)
    return result.exit_code()


def enqueue_answer(result: EnqueueResult) -> EnqueueAnswer:
    """Return as JSON what was enqueued."""
    found = result.enqueued
    return EnqueueAnswer(
        run_id=found.run_id,
        digest=result.figures.digest,
        enqueued=found.links,
        doubts=found.doubts,
        behind_doubts=found.behind_doubts,
        in_doubt=found.in_doubt,
        busy=found.busy,
        moved=found.moved,
        stopped=found.stopped,
        seconds=round(result.seconds, 3),
        exit_code=result.exit_code(),
    )
