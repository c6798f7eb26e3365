"""What the ledger costs: with fsync, without, and no ledger at all, at three speeds.

    python benchmarks/ledger.py [--rounds 3] [--quick]

Each variant sends the same operations through the library's own sender to `fast_server.py`: with
the ledger as it is, with SQLite's `synchronous=OFF`, and with a journal that records nothing. They
take turns, so that what else the machine does hits all alike. Printed are the medians of links a
second, processor time per link, and the share of the speed that the ledger costs.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from pydantic import SecretStr

from incarts_pipeline.api.client import IncartsClient
from incarts_pipeline.clock import Clock
from incarts_pipeline.ledger.attempts import Outcome, Sent
from incarts_pipeline.ledger.claims import Call, Operation, claim_calls
from incarts_pipeline.ledger.database import open_engine, prepare_file
from incarts_pipeline.ledger.journal import Journal
from incarts_pipeline.ledger.queries import ensure_sets
from incarts_pipeline.ledger.state_machine import ReplayRule
from incarts_pipeline.models import Action
from incarts_pipeline.rate_limit.controller import RateController
from incarts_pipeline.sync import Stop
from incarts_pipeline.write.attempts import Attempts
from incarts_pipeline.write.circuit_breaker import Circuits
from incarts_pipeline.write.concurrency import ConcurrencyLimit
from incarts_pipeline.write.metrics import RunMetrics
from incarts_pipeline.write.send import MOST_FAILURES, Sender
from incarts_pipeline.write.throttle import Throttle

IN_FLIGHT = 32
BATCH = 256
VARIANTS = ("no ledger", "no fsync", "ledger")
SPEEDS = {"100/s": (100.0, 400), "1,000/s": (1_000.0, 3_000), "flat out": (None, 3_000)}
RULE = ReplayRule(window=1_500.0, api_key_fingerprint="benchmark")


class NoJournal:
    """Records nothing."""

    async def mark_sent(self, sent: Sequence[Sent]) -> Sequence[bool]:
        """Say yes."""
        return [True] * len(sent)

    def record(self, outcome: Outcome) -> None:
        """Forget it."""


def calls(rows: int) -> list[Call]:
    """Return calls of a usual size."""
    made = []
    for i in range(rows):
        body = (
            f'{{"intent":"add_to_cart","name":"Product number {i}","products":[{{"quantity":1,'
            f'"retailerProductId":"{500_000_000 + i}"}}],"projectId":"demo","retailer":"walmart"}}'
        ).encode()
        made.append(
            Call(
                project_id="demo",
                link_set="s",
                set_id=1,
                row_key=f"{i:09d}",
                action=Action.CREATE,
                retailer="walmart",
                intent="add_to_cart",
                content_hash=hashlib.sha256(body).digest(),
                groups=(b"d" * 32, b"t" * 32, b"l" * 32),
                body=body,
            )
        )
    return made


async def send(base_url: str, variant: str, rate: float | None, work: list[Call]) -> None:
    """Claim and send all calls with one variant of the ledger."""
    with journal_of(variant) as journal:
        await run_with(journal, base_url, rate, work)


async def run_with(journal: Any, base_url: str, rate: float | None, work: list[Call]) -> None:
    """Claim and send all calls with a journal."""
    client = IncartsClient(
        base_url=base_url, api_key=SecretStr("ic_benchmark"), max_connections=IN_FLIGHT
    )
    async with client:
        sender = Sender(
            client=client,
            journal=journal,
            throttle=Throttle(
                rate=RateController(rate, learns=False),
                circuits=Circuits(),
                clock=Clock(),
                stop=Stop(),
                metrics=RunMetrics(),
                in_flight=ConcurrencyLimit(IN_FLIGHT),
            ),
            rule=RULE,
        )
        if isinstance(journal, NoJournal):
            await send_all(sender, work, None)
        else:
            async with journal:
                await send_all(sender, work, journal)
    if sender.throttle.circuits.accepted != len(work):
        raise RuntimeError("a link was lost")


async def send_all(sender: Sender, work: list[Call], journal: Journal | None) -> None:
    """Claim a batch at a time, and send its operations beside the next one's claim."""
    async with Attempts(
        sender.throttle, most=MOST_FAILURES, grace=0.0, prepare=sender.mark
    ) as begun:
        for start in range(0, len(work), BATCH):
            operations = await claimed(work[start : start + BATCH], start, journal)
            await begun.begin([*map(sender.sending, operations)])


async def claimed(batch: list[Call], start: int, journal: Journal | None) -> list[Operation]:
    """Return the operations of a batch, recorded if there is a journal."""
    if journal is None:
        return [
            Operation(
                op_id=start + i,
                set_id=1,
                idempotency_key=f"incarts1-{start + i:040d}",
                row_key=call.row_key,
                retailer=call.retailer,
                intent=call.intent,
                content_hash=call.content_hash,
                body=call.body,
                epoch=1,
            )
            for i, call in enumerate(batch)
        ]
    now = Clock().now()
    answers = await journal.run(lambda c: claim_calls(c, batch, "r", (), now, retry_rejected=False))
    return [operation for _, operation in answers if operation is not None]


@contextmanager
def journal_of(variant: str) -> Iterator[Any]:
    """Open a new ledger, or none."""
    if variant == "no ledger":
        yield NoJournal()
        return
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "ledger.db"
        engine = prepare_file(path, "http://127.0.0.1:1")
        with engine.begin() as connection:
            ensure_sets(connection, "demo", ["s"], ["sku"])
        engine.dispose()
        engine = open_engine(path)
        if variant == "no fsync":
            sa.event.listen(engine, "connect", lambda c, _: c.execute("PRAGMA synchronous=OFF"))
        yield Journal(engine, path, "r")
        engine.dispose()


def main() -> None:
    """Run all variants in turn at all speeds and print the table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--quick", action="store_true")
    options = parser.parse_args()
    shrink, rounds = (8, 1) if options.quick else (1, options.rounds)
    server = subprocess.Popen(
        [sys.executable, str(Path(__file__).parent / "fast_server.py")],
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        base_url = server.stdout.readline().strip() if server.stdout else ""
        print(f"{'speed':>9}  {'variant':>9}  {'links/s':>8}  {'CPU ms/link':>11}  {'costs':>6}")
        for name, (rate, rows) in SPEEDS.items():
            compare(base_url, name, rate, calls(rows // shrink), rounds)
    finally:
        server.terminate()
        server.wait()
        if server.stdout:
            server.stdout.close()


def compare(base_url: str, name: str, rate: float | None, work: list[Call], rounds: int) -> None:
    """Measure the variants at one speed."""
    speeds: dict[str, list[float]] = {variant: [] for variant in VARIANTS}
    efforts: dict[str, list[float]] = {variant: [] for variant in VARIANTS}
    for _ in range(rounds):
        for variant in VARIANTS:
            began, cpu = time.perf_counter(), time.process_time()
            asyncio.run(send(base_url, variant, rate, work))
            speeds[variant].append(len(work) / (time.perf_counter() - began))
            efforts[variant].append((time.process_time() - cpu) / len(work) * 1e3)
    base = statistics.median(speeds["no ledger"])
    for variant in VARIANTS:
        speed = statistics.median(speeds[variant])
        effort = statistics.median(efforts[variant])
        print(f"{name:>9}  {variant:>9}  {speed:8,.0f}  {effort:11.2f}  {1 - speed / base:6.1%}")


if __name__ == "__main__":
    main()
