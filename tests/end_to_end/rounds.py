"""Rounds of `make soak` with real processes: something breaks, and a person follows the runbook.

Each round has a folder, a ledger, a link set and products of its own, and is counted by itself.
"""

from __future__ import annotations

import os
import random
import signal
import threading
import time
import zlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import islice
from multiprocessing.process import BaseProcess
from pathlib import Path

import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.parquet as pq

from incarts_pipeline.errors import IncartsError, RefusedError
from incarts_pipeline.ledger import LEASE_SECONDS, History, existing_ledger, reading
from incarts_pipeline.maintenance import backup_ledger, import_links, restore_ledger
from incarts_pipeline.pipeline import apply_plan, plan_catalog
from incarts_pipeline.plan.request import PlanRequest
from incarts_pipeline.sandbox.process import SandboxProcess
from incarts_pipeline.settings import Settings, load_settings
from incarts_pipeline.sync import run_blocking
from incarts_pipeline.write.options import WriteOptions
from tests.support.chaos import Damage, befall, made_links, review
from tests.support.fault_proxy import Break, FaultProxy, mixture
from tests.support.processes import fork, wait_for_links, wait_until_answered
from tests.support.runs import products

_FIRST, _ALL = 6, 24  # rows before the backup, and in the night that is killed
_MOST_RUNS = 5
# What a run can't miss. A log may fit the copy under it, and a page may be one that nobody needs.
_REFUSED = frozenset(Damage) - {Damage.COPIED_UNDER_LOG, Damage.ZEROED}
UNDER_A_RUN = (Damage.RENAMED, Damage.REPLACED, Damage.DELETED)


@dataclass(slots=True, kw_only=True)
class Count:
    """What rounds came to.

    `refused` counts those in which nothing was sent until a person had done something, `held` the
    rows that a person had to settle.
    """

    rounds: int = 0
    links: int = 0
    refused: int = 0
    held: int = 0
    wrong: list[str] = field(default_factory=list)

    def add(self, other: Count) -> None:
        """Take in another count."""
        self.rounds += other.rounds
        self.links += other.links
        self.refused += other.refused
        self.held += other.held
        self.wrong += other.wrong

    def __str__(self) -> str:
        return (
            f"{self.rounds} rounds, {self.links:,} links, {self.refused} refused, "
            f"{self.held} rows held, {len(self.wrong)} problems"
        )


class Place:
    """A round's own folder, ledger, link set and products, and what the server has made of them."""

    def __init__(self, box: SandboxProcess, folder: Path, base_url: str | None = None) -> None:
        self._box, self._name = box, folder.name
        self.folder = folder
        folder.mkdir()
        self.base_url = base_url or box.base_url
        self.api_key, self.project_id = box.api_key, box.project_id
        self.ledger, self.backup = folder / "ledger.db", folder / "backup.db"
        self.settings: Settings = load_settings(
            base_url=self.base_url,
            api_key=box.api_key,
            project_id=box.project_id,
            ledger=self.ledger,
            max_rps=None,
            rate="fixed:none",
            read_timeout=2.0,
        )
        self.before = box.audit()
        self.guard: str | None = None  # what refused the last run that was refused

    def catalog(self, n: int) -> pa.Table:
        """Return `n` products of the round's own."""
        names = [f"{self._name} {i}" for i in range(n)]
        return products(n, name=names, retailer_product_id=list(map(_number, names)))

    def apply(self, n: int) -> int:
        """Plan and apply `n` products here; return the exit code."""
        request = PlanRequest(catalog=self.catalog(n), link_set=self._name, unique_key=("sku",))
        output = self.folder / "links.parquet"
        try:
            with plan_catalog(request, self.settings) as plan:
                options = WriteOptions()
                return run_blocking(
                    lambda stop: apply_plan(plan, self.settings, output, options=options, stop=stop)
                ).exit_code()
        except IncartsError as error:
            self.guard = getattr(error, "guard", None)
            return 1

    def night(self, n: int) -> BaseProcess:
        """Begin to apply `n` products in a process of its own."""
        pacsv.write_csv(self.catalog(n), self.folder / "catalog.csv")
        arguments = ("apply", "catalog.csv", "-o", "links.parquet", "--unique-key", "sku")
        more = ("--link-set", self._name, "--ledger", str(self.ledger), "--max-in-flight", "8")
        return fork(self, *arguments, *more, folder=self.folder)

    def wrong(self, n: int) -> list[str]:
        """Say what is wrong, duplicated or lost, now that all should be settled."""
        after, made = self._box.audit(), made_links(self._box)
        links = after.links - self.before.links
        found = [] if links == n else [f"{links} links for {n} rows"]
        found += [
            f"{extra} {name}"
            for name in ("duplicates", "repeated_bodies", "second_bodies")
            if (extra := getattr(after, name) - getattr(self.before, name))
        ]
        table = pq.read_table(self.folder / "links.parquet").to_pylist()
        found += [
            f"row {row['sku']} has {row['link_id']}, {row['status']}"
            for row in table
            if row["link_id"] is None or made.get(row["idempotency_key"]) != row["link_id"]
        ]
        return found if len(table) == n else [*found, f"{len(table)} rows for {n}"]


def _number(name: str) -> str:
    return str(zlib.crc32(name.encode()) + 1)


def foreign(box: SandboxProcess, folder: Path, kinds: Sequence[Break], rows: int) -> Count:
    """Apply rows through a proxy that doubles, delays or swaps four of ten answers."""
    blows = islice(mixture(int(_number(folder.name)), 0.4, kinds), 3 * rows)
    with FaultProxy(box.base_url, blows) as proxy:
        place = Place(box, folder, proxy.base_url)
        night = place.night(rows)
        night.join()
        held = 0 if night.exitcode == 0 else _doubts(place)
        for _ in range(_MOST_RUNS):
            if (code := place.apply(rows)) == 0:
                break
        wrong = place.wrong(rows) + ([f"exit code {code}"] if code else [])
    return Count(rounds=1, links=rows, held=held, wrong=[f"{folder}: {one}" for one in wrong])


def _doubts(place: Place) -> int:
    table = pq.read_table(place.folder / "links.parquet")
    return table["status"].to_pylist().count("in_doubt")


def damaged(
    box: SandboxProcess, folder: Path, damage: Damage, dice: random.Random, *, under: bool = False
) -> Count:
    """Damage the ledger's files after a night that was killed, or `under` it; then get out of it.

    Nothing may be sent before a person has restored it; then each row has its one link.
    """
    place = Place(box, folder)
    wrong = [] if place.apply(_FIRST) == 0 else ["the first run failed"]
    backup_ledger(place.backup, place.settings)
    night = place.night(_ALL)
    wait_for_links(box, place.before.links + _FIRST + dice.randint(1, _ALL - _FIRST - 8))
    if not under:
        night.kill()
        night.join()
    befall(damage, place.ledger, place.backup, dice)
    if under:
        night.join()
        wrong += [] if night.exitcode == 1 else [f"it ended with {night.exitcode}"]
    wait_until_answered(box)
    before = len(box.requests())
    refused = place.apply(_ALL) == 1
    if refused and len(box.requests()) != before:
        wrong.append("something was sent before it was refused")
    if not refused and damage in _REFUSED:
        wrong.append("it went on")
    held = _get_out(place, box, damage, wrong)
    wrong += place.wrong(_ALL)
    told = [f"{folder} ({damage}): {one}" for one in wrong]
    return Count(rounds=1, links=_ALL, refused=int(refused), held=held, wrong=told)


def _get_out(place: Place, box: SandboxProcess, damage: Damage, wrong: list[str]) -> int:
    """Do what the runbook says until a run ends well; return how many rows were settled by hand."""
    rescued = [file for file in place.folder.glob("*.rescued-*") if ".log-" not in file.name]
    elsewhere, held, is_restored = place.folder / "elsewhere.db", 0, False
    for _ in range(_MOST_RUNS):
        code = place.apply(_ALL)
        if code == 0:
            return held
        if code == 3:
            held += len(review(place.settings, box))
        elif damage is Damage.LINKED:
            (place.folder / "second.db").unlink()
        elif damage is Damage.RENAMED and not rescued:
            elsewhere.rename(place.ledger)
        elif is_restored and place.guard == "rolled_back":  # a run published before it noticed
            import_links(place.folder / "links.parquet", place.settings)
        else:
            is_restored = True
            _restore(rescued[0] if rescued else place.backup, place.settings)
    wrong.append(f"exit code {code} in the end")
    return held


def _restore(backup: Path, settings: Settings) -> None:
    """Restore a ledger; this process is alive, so a run of it that left no end has its lease."""
    until = time.monotonic() + LEASE_SECONDS + 5
    while True:
        try:
            restore_ledger(backup, settings)
        except RefusedError as error:
            if error.guard != "running" or time.monotonic() > until:
                raise
            time.sleep(0.5)
        else:
            return


def children_killed(box: SandboxProcess, folder: Path, times: int, dice: random.Random) -> Count:
    """Kill the process that reads a history for this one: noticed, or read to its end before."""
    place = Place(box, folder)
    place.apply(_ALL)
    view = existing_ledger(place.settings)
    sets = view.set_ids(place.project_id, [folder.name])
    found: Counter[str] = Counter()
    for _ in range(times):
        killer = threading.Timer(dice.uniform(0.0, 0.2), _kill_readers)
        killer.start()
        try:
            with reading(place.ledger, large=True) as ledger:
                rows = sum(batch.num_rows for batch in History(set_ids=sets).batches(ledger))
        except IncartsError:
            found["refused"] += 1
        else:
            found["whole" if rows == _ALL else f"{rows} rows of {_ALL}"] += 1
        killer.cancel()
        killer.join()
    short = [f"{folder}: {what}" for what in found if what not in ("refused", "whole")]
    return Count(rounds=times, links=_ALL, refused=found["refused"], wrong=short)


def _kill_readers() -> None:
    for process in Path("/proc").glob("[0-9]*"):
        try:
            parent = process.joinpath("stat").read_text().rpartition(")")[2].split()[1]
            command = process.joinpath("cmdline").read_text()
        except OSError:  # it has ended
            continue
        if parent == str(os.getpid()) and "bulk_read_process" in command:
            os.kill(int(process.name), signal.SIGKILL)
