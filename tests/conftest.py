"""Fixtures: a sandbox as the server, settings that point at it, and catalogs to send."""

from __future__ import annotations

import importlib.util
import itertools
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings as hypothesis_settings

from incarts_pipeline.clock import Clock
from incarts_pipeline.outgoing import secrets
from incarts_pipeline.pipeline import RunResult, apply_plan, plan_catalog
from incarts_pipeline.plan.request import PlanRequest, QrRequest
from incarts_pipeline.qr_codes import apply_qr_codes, plan_qr_codes
from incarts_pipeline.sandbox import Sandbox
from incarts_pipeline.settings import DatabasePlace, LedgerPlace, Settings, as_place, load_settings
from incarts_pipeline.write.options import WriteOptions
from tests.support import postgres
from tests.support.displayed import World, world
from tests.support.paths import ROOT
from tests.support.runs import Make, Run, run_until

# How long an example takes says how busy the machine is, not whether the code is right.
hypothesis_settings.register_profile(
    "default", deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
hypothesis_settings.register_profile(
    "few", hypothesis_settings.get_profile("ci"), max_examples=20, deadline=None
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what is slow by its folder, and let what is slow take its time on a busy machine.

    What shares a cluster comes first: who is free takes tests from the end of another's share, and
    would start one of its own.
    """
    items.sort(key=lambda item: "cluster" not in getattr(item, "fixturenames", ()))
    for item in items:
        if ROOT / "tests" / "end_to_end" in item.path.parents:
            item.add_marker(pytest.mark.slow)
        if item.get_closest_marker("slow") and not item.get_closest_marker("timeout"):
            item.add_marker(pytest.mark.timeout(1_200))


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[postgres.Server]:
    """A PostgreSQL server for all tests that want one; without the package they are skipped."""
    if postgres.programs() is None or importlib.util.find_spec("psycopg") is None:
        pytest.skip("PostgreSQL or psycopg isn't installed")
    with postgres.server() as one:
        yield one


_databases = itertools.count()


@pytest.fixture
def database(postgres_server: postgres.Server) -> DatabasePlace:
    """A ledger's place in a database of its own, where no ledger is yet."""
    import psycopg

    name = f"db{next(_databases)}"
    with psycopg.connect(postgres_server.uri(), autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name} TEMPLATE template0")
    found = as_place(postgres_server.uri(name))
    assert isinstance(found, DatabasePlace)
    return found


@pytest.fixture(params=["sqlite", "postgres"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> LedgerPlace:
    """A place for a ledger, of each kind; nothing is there yet."""
    if request.param == "sqlite":
        return tmp_path / "ledger.db"
    found: LedgerPlace = request.getfixturevalue("database")
    return found


@pytest.fixture(autouse=True)
def _own_world(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Run each test in a folder of its own, without the caller's settings."""
    monkeypatch.chdir(tmp_path)
    # What one test's settings keep secret is another's name of a product: put back at its end.
    monkeypatch.setattr(secrets, "_live", secrets._live)
    for name in (
        "API_BASE_URL",
        "API_KEY",
        "API_KEY_FILE",
        "API_KEY_COMMAND",
        "API_KEY_KEYRING",
        "TRUSTED_HOSTS",
        "PROJECT_ID",
        "LEDGER",
        "IDEMPOTENCY_WINDOW",
        "SCOPES",
        "MAX_RPS",
        "RATE",
        "MAX_IN_FLIGHT",
        "WAIT",
        "CONNECT_TIMEOUT",
        "READ_TIMEOUT",
        "LIMITS",
        "REQUIRE_SIGNATURE",
    ):
        monkeypatch.delenv(f"INCARTS_{name}", raising=False)
    # Beside it, where the library remembers rates and hosts: what one test learns is no other's.
    monkeypatch.setenv("XDG_STATE_HOME", f"{tmp_path}-state")
    monkeypatch.setenv("XDG_CONFIG_HOME", f"{tmp_path}-config")


@pytest.fixture(scope="session")
def close_later() -> Iterator[Callable[[ExitStack], None]]:
    """Close what takes a tenth of a second of waiting beside the next tests, not between them."""
    with ThreadPoolExecutor(2) as threads:
        closed: list[Future[None]] = []
        yield lambda what: closed.append(threads.submit(what.close))
        for one in closed:
            one.result()


@pytest.fixture
def box(close_later: Callable[[ExitStack], None]) -> Iterator[Sandbox]:
    """A sandbox without faults."""
    with ExitStack() as stack:
        yield stack.enter_context(Sandbox())
        close_later(stack.pop_all())


@pytest.fixture
def ledger(tmp_path: Path) -> LedgerPlace:
    """The place of the ledger, a file; a folder's conftest may have others."""
    return tmp_path / "ledger.db"


@pytest.fixture
def settings(box: Sandbox, ledger: LedgerPlace) -> Settings:
    """Settings for the sandbox, without a rate ceiling."""
    return load_settings(
        base_url=box.base_url,
        api_key=box.api_key,
        project_id=box.project_id,
        ledger=ledger,
        max_rps=None,
        rate="fixed:none",
    )


@pytest.fixture
def run(settings: Settings, tmp_path: Path) -> Run:
    """Plan and apply a catalog; keywords go to PlanRequest, WriteOptions or the settings.

    With `until`, the run ends as if out of time once it has begun so many requests.
    """

    def go(
        catalog: object,
        *,
        output: str = "links.parquet",
        until: int | None = None,
        **keywords: object,
    ) -> RunResult:
        used = settings.model_copy(
            update={k: keywords.pop(k) for k in list(keywords) if k in Settings.model_fields}
        )
        fields = PlanRequest.__dataclass_fields__
        planning = {k: keywords.pop(k) for k in list(keywords) if k in fields}
        if "mapping" not in planning:
            planning = {"link_set": "test", "unique_key": ("sku",)} | planning
        request = PlanRequest(catalog=catalog, **planning)  # type: ignore[arg-type]
        options = WriteOptions(**keywords)  # type: ignore[arg-type]
        place = output if "://" in output else f"{tmp_path}/{output}"
        with plan_catalog(request, used) as plan:
            return run_until(
                until,
                lambda stop, metrics: apply_plan(
                    plan, used, place, options=options, stop=stop, metrics=metrics
                ),
            )

    return go


@pytest.fixture
def make(settings: Settings) -> Make:
    """Make codes from links.parquet, or another table; returns the run."""

    def go(
        source: object = "links.parquet",
        clock: Clock | None = None,
        output: str = "qr_codes.parquet",
        until: int | None = None,
        **keywords: Any,
    ) -> RunResult:
        own = ("limit", "max_duration", "if_running")
        options = WriteOptions(**{k: keywords.pop(k) for k in own if k in keywords})
        used = settings.model_copy(
            update={k: keywords.pop(k) for k in list(keywords) if k in Settings.model_fields}
        )
        if source == "links.parquet":
            keywords.setdefault("identifiers", ("shelf",))
        request = QrRequest(source=source, **keywords)
        with plan_qr_codes(request, used, clock=clock) as plan:
            return run_until(
                until,
                lambda stop, metrics: apply_qr_codes(
                    plan, used, output, options=options, stop=stop, metrics=metrics, clock=clock
                ),
            )

    return go


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """A plan that is refused and a result with failures; one for all, as it takes two runs."""
    with world(tmp_path_factory.mktemp("world")) as one:
        yield one
