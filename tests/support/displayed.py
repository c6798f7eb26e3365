"""Plans and results of real runs over a catalog whose names try to break out of the page."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from incarts_pipeline.ledger.queries import Label
from incarts_pipeline.ledger.reader import LedgerReader
from incarts_pipeline.models import (
    Answer,
    AnswerKind,
    Reason,
    State,
    Status,
)
from incarts_pipeline.pipeline import RunResult, apply_plan, plan_catalog
from incarts_pipeline.plan.figures import PlanFigures
from incarts_pipeline.plan.plan import Plan
from incarts_pipeline.plan.request import PlanRequest
from incarts_pipeline.publish.output import Output, Published
from incarts_pipeline.rate_limit.controller import RateController
from incarts_pipeline.rate_limit.limit import Learned, Wait
from incarts_pipeline.rate_limit.signals import Outcome, Signal
from incarts_pipeline.sandbox import Sandbox, SandboxConfig
from incarts_pipeline.schemas import LINKS
from incarts_pipeline.settings import Settings, load_settings
from incarts_pipeline.write.circuit_breaker import End, EndKind
from incarts_pipeline.write.metrics import RunMetrics
from incarts_pipeline.write.options import WriteOptions
from incarts_pipeline.write.result import WriteResult
from tests.support.rates.limiters import Fixed
from tests.support.rates.simulator import Simulation
from tests.support.runs import run_until

SCRIPT = "<script>document.title='run'</script>"
IMAGE = '"><img src=x onerror="document.title=\'run\'">'
NAMES = (
    "Rolled Oats, Old Fashioned, 42 oz",
    "Café Bustelo Espresso Ground Coffee",
    "Extra Virgin Olive Oil, First Cold Press",
    "海苔 Roasted Seaweed Snack",
    "زيت زيتون Olive Oil",
    "Black Beans, No Salt Added",
    SCRIPT,
    IMAGE,
    "\u2067desrever\u2069 Pasta",
    "Ampersand & Sons <b>Bold</b> Crackers",
    "Unsalted Butter Sticks",
    "Sparkling Water, Lime, 12 Pack, " + "Extra Long Name " * 6,
)


@dataclass(slots=True)
class World:
    """A plan that is still open and refused, and a later result with every kind of failure."""

    plan: Plan
    result: RunResult
    table: pa.Table
    labels: dict[str, Label]


def catalog(n: int = 60) -> pa.Table:
    """Return `n` products with names that are long, foreign, or up to no good."""
    return pa.table(
        {
            "sku": [SCRIPT if i == 6 else f"SKU-{i:04d}" for i in range(n)],
            "name": [f"{NAMES[i % len(NAMES)]}" for i in range(n)],
            "retailer": ["walmart" if i % 5 else "instacart" for i in range(n)],
            "intent": ["add_to_cart" if i % 5 else "custom_url" for i in range(n)],
            "retailer_product_id": [str(500_000 + i) if i % 5 else None for i in range(n)],
            "custom_url": [
                None if i % 5 else f"https://shop.example/{i}?a=1&b=2" for i in range(n)
            ],
            "quantity": [1] * n,
            "pinned": [i % 11 == 3 for i in range(n)],
        }
    )


def changed(n: int = 60) -> pa.Table:
    """Return the catalog of a later day: changed, wrong, doubled and new rows."""
    table = catalog(n + 12)
    columns = table.to_pydict()
    for i in range(n):
        if i % 5 and i % 3:
            columns["quantity"][i] = 2
    columns["retailer_product_id"][1] = "550098461.0"
    columns["name"][2] = "x" * 200
    columns["custom_url"][5] = "ftp://nowhere"
    columns["sku"][n + 1] = columns["sku"][n + 2]
    columns["name"][n + 1] = "Another product under the same key"
    return pa.table(columns, schema=table.schema)


@contextmanager
def world(folder: Path) -> Iterator[World]:
    """Run a catalog twice against a sandbox; the second time with failures of several kinds."""
    with Sandbox(SandboxConfig(short_domain="https://in2carts.com")) as box:
        settings = load_settings(
            base_url=box.base_url,
            api_key=box.api_key,
            project_id=box.project_id,
            ledger=folder / "ledger.db",
            max_rps=None,
            rate="fixed:none",
        )
        _run(catalog(), settings, folder, None)
        plan = plan_catalog(_request(changed()), settings)
        # That row may have been made, and nobody knows; Incarts refuses others.
        box.fail_next("error_after", times=50, where="500063")
        box.reconfigure(max_quantity=1)
        result = _run(changed(), settings, folder, plan.figures.digest)
    table = pq.read_table(folder / "links.parquet")
    labels = LedgerReader(folder / "ledger.db").labels(table["link_id"].drop_null().to_pylist())
    with plan:
        yield World(plan=plan, result=result, table=table, labels=labels)


def _request(table: pa.Table) -> PlanRequest:
    return PlanRequest(catalog=table, link_set="summer-campaign", unique_key=("sku",))


def _run(table: pa.Table, settings: Settings, folder: Path, approved: str | None) -> RunResult:
    options = WriteOptions(approved=approved)
    with plan_catalog(_request(table), settings) as plan:
        # Once all have been asked for, and one again, what still isn't answered is left.
        return run_until(
            plan.figures.calls + 2,
            lambda stop, metrics: apply_plan(
                plan,
                settings,
                folder / "links.parquet",
                options=options,
                metrics=metrics,
                stop=stop,
            ),
        )


class Watched:
    """A rate controller whose answers are counted, as a run's sender does."""

    left: int | None = None

    def __init__(self, metrics: RunMetrics) -> None:
        self._metrics = metrics
        self._controller = RateController(100.0, None)

    @property
    def learned(self) -> Learned | None:
        """What is known of the limit."""
        return self._controller.learned

    @property
    def pace(self) -> float | None:
        """Requests a second."""
        return self._controller.pace

    def ask(self, now: float) -> float:
        """Take a permit, or say how long to wait."""
        return self._controller.ask(now)

    def answered(self, signal: Signal, *, sent_at: float, now: float) -> None:
        """Learn from an answer, and count it; every hundredth one is an error."""
        self._controller.answered(signal, sent_at=sent_at, now=now)
        metrics = self._metrics
        metrics.requests += 1
        answer, state = (
            Answer(kind=AnswerKind.RATE_LIMITED, correlation_id="x", status=429),
            State.INTENDED,
        )
        if signal.outcome is Outcome.ACCEPTED:
            answer, state = Answer(kind=AnswerKind.LINK, correlation_id="x", status=201), State.DONE
        if metrics.requests % 100 == 7:
            answer = Answer(kind=AnswerKind.UNKNOWN, correlation_id="x", status=503)
        spread = (1.0 + (metrics.requests * 7919 % 100) / 40) ** 2 / 4
        metrics.answered(
            answer,
            state,
            latency=(now - sent_at) * spread,
            now=now,
            limit=self.learned,
            pace=self.pace,
        )

    def hopeless_for(self, now: float) -> float | None:
        """Say when waiting is no use."""
        return self._controller.hopeless_for(now)

    def waiting_for(self, now: float) -> Wait | None:
        """Say what is being waited for."""
        return self._controller.waiting_for(now)


def limited_run(seconds: float = 240.0) -> RunMetrics:
    """Return what a tally has after a run against 300 requests per 10 s, in simulated time."""
    metrics = RunMetrics(planned=9_000)
    Simulation(Fixed(300, 10.0), Watched(metrics)).run(seconds)
    return metrics


AT = dt.datetime(2026, 5, 4, 9, 30, tzinfo=dt.UTC)


def storable(value: Any) -> Any:
    """Return a value as Arrow can hold it: without half characters."""
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode()
    if isinstance(value, list):
        return [storable(one) for one in value]
    return {k: storable(v) for k, v in value.items()} if isinstance(value, dict) else value


def links(rows: list[dict[str, Any]]) -> pa.Table:
    """Return rows as a table with the columns of links.parquet."""
    blank: dict[str, Any] = dict.fromkeys(LINKS.names) | {"link_set": "s", "action": "create"}
    full = [blank | {"catalog_row": i} | storable(row) for i, row in enumerate(rows)]
    return pa.Table.from_pylist(full, schema=LINKS)


def result(said: str, counts: Mapping[tuple[Status, Reason], int]) -> RunResult:
    """Return a result in which everything that Incarts or a path can say says `said`."""
    figures = PlanFigures(
        counts=(),
        calls=0,
        doubts=0,
        missing={},
        scopes={},
        missing_scopes=(),
        warnings=(),
        refusals=(),
        digest="d",
        seconds=None,
    )
    written = WriteResult(
        run_id=said,
        end=End(kind=EndKind.STORM, message=said, fix=said),
        stopped=Reason.CIRCUIT_OPEN,
        forbidden={(said, said): said},
        accepted=1,
        requests=1,
        unrecorded=[said],
    )
    published = Published(output=Output(links=said), counts=counts)
    return RunResult(
        figures=figures, written=written, published=published, seconds=1.0, project_id="demo"
    )
