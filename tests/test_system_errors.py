"""Files that can't be read or written, whichever way in: errors of ours that name them."""

from __future__ import annotations

import asyncio
import errno
import os
import sqlite3
import zlib
from collections.abc import Callable
from pathlib import Path

import duckdb
import pyarrow as pa
import pytest

from incarts_pipeline import create_qr_codes, plan_links, write_links
from incarts_pipeline.catalog import open_catalog
from incarts_pipeline.errors import CatalogError, IncartsError, MachineError, raising_ours
from incarts_pipeline.pipeline import apply_plan, plan_catalog
from incarts_pipeline.plan import PlanRequest, load_plan, save_plan
from incarts_pipeline.sandbox import Sandbox
from incarts_pipeline.settings import Settings, load_settings
from incarts_pipeline.sync import run_blocking
from tests.support.runs import products

ROWS = PlanRequest(catalog=products(2), link_set="test", unique_key=("sku",))


def no_folder(place: Path, ending: str) -> Path:
    """A file in a folder that isn't there."""
    return place / "none" / f"wrong{ending}"


def below_a_file(place: Path, ending: str) -> Path:
    """A file where a folder should be."""
    (place / "file").write_text("x")
    return place / "file" / f"wrong{ending}"


def too_long(place: Path, ending: str) -> Path:
    """A name that no disk takes."""
    return place / f"{'wrong' * 60}{ending}"


def folder(place: Path, ending: str) -> Path:
    """A folder where a file should be."""
    found = place / f"wrong{ending}"
    found.mkdir()
    return found


def dangling(place: Path, ending: str) -> Path:
    """A link into a folder that isn't there."""
    found = place / f"wrong{ending}"
    found.symlink_to(place / "gone" / "file")
    return found


def looping(place: Path, ending: str) -> Path:
    """A link to itself."""
    found = place / f"wrong{ending}"
    found.symlink_to(found)
    return found


def with_nul(place: Path, ending: str) -> Path:
    """A path that the system can't even be asked for."""
    return place / f"wrong\0{ending}"


READ = [no_folder, below_a_file, too_long, folder, dangling, looping, with_nul]


def planned(settings: Settings, path: Path) -> None:
    """Plan with a ledger."""
    plan_catalog(ROWS, settings.model_copy(update={"ledger": path})).close()


def applied(settings: Settings, path: Path) -> None:
    """Make links, with an output."""
    with plan_catalog(ROWS, settings) as plan:
        run_blocking(lambda stop: apply_plan(plan, settings, path, stop=stop))


def saved(settings: Settings, path: Path) -> None:
    """Write a plan file."""
    Path("catalog.csv").write_text("sku,name,retailer,intent,retailer_product_id\n")
    request = PlanRequest(catalog="catalog.csv", link_set="test", unique_key=("sku",))
    with plan_catalog(request, settings) as plan:
        save_plan(plan, request, settings, path)


def frame_saved(settings: Settings, path: Path) -> None:
    """Write the plan file of a frame."""
    with plan_links(products(2), link_set="test", unique_key="sku", settings=settings) as plan:
        plan.save(path)


def written(settings: Settings, path: Path, name: str) -> None:
    """Make links from Python, with one argument of its own."""
    given = {"link_set": "test", "unique_key": "sku", "settings": settings, "output": "o.parquet"}
    given |= {"link_set": None, "unique_key": ()} if name == "mapping" else {}
    write_links(products(2), progress=False, **(given | {name: path}))  # type: ignore[arg-type]


def codes(settings: Settings, path: Path, name: str) -> None:
    """Make QR codes, with a ledger or an output."""
    used = settings.model_copy(update={"ledger": path}) if name == "ledger" else settings
    output = path if name == "output" else "codes.parquet"
    create_qr_codes(products(2), used, identifiers=["shelf"], output=output, progress=False)


def key_file(_: Settings, path: Path) -> None:
    """Read the API key."""
    load_settings(api_key_file=path)


Job = Callable[[Settings, Path], object]
# What is read, and by which word it is told; what isn't there is no error of a ledger.
READING: dict[str, tuple[Job, str, str]] = {
    "key file": (key_file, "", "INCARTS_API_KEY_FILE"),
    "settings": (lambda _, path: load_settings(file=path), ".toml", "wrong"),
    "mapping": (lambda s, path: written(s, path, "mapping"), ".yaml", "mapping"),
    "mapping of a plan": (
        lambda s, path: plan_catalog(PlanRequest(catalog=products(2), mapping=path), s),
        ".yaml",
        "mapping",
    ),
    "plan file": (lambda _, path: load_plan(path), ".incarts", "plan file"),
    "CSV": (lambda _, path: open_catalog(path), ".csv", "wrong"),
    "Parquet": (lambda _, path: plan_links(path, link_set="t", unique_key="a"), ".parquet", ""),
    "JSON": (lambda _, path: open_catalog(path), ".json", "wrong"),
    "database": (lambda _, path: open_catalog(path, query="SELECT 1"), ".db", "database"),
}
WRITING: dict[str, tuple[Job, str, str]] = {
    "output": (applied, ".parquet", "wrong"),
    "output of a frame": (lambda s, path: written(s, path, "output"), ".parquet", "wrong"),
    "output of codes": (lambda s, path: codes(s, path, "output"), ".parquet", ""),
    "report": (lambda s, path: written(s, path, "report"), ".html", "wrong"),
    "plan file": (saved, ".incarts", "plan file"),
    "plan file of a frame": (frame_saved, ".incarts", ""),
    "ledger": (planned, ".db", "INCARTS_LEDGER"),
    "ledger of a frame": (lambda s, path: written(s, path, "ledger"), ".db", "INCARTS_LEDGER"),
    "ledger of codes": (lambda s, path: codes(s, path, "ledger"), ".db", "INCARTS_LEDGER"),
}


def check(box: Sandbox, job: Callable[[], object], path: Path, named: str) -> None:
    """Make sure that an error of ours names a file in one line, and that nothing was sent."""
    with pytest.raises(IncartsError) as caught:
        job()
    said = str(caught.value)
    assert path.name in said or path.parent.name in said, said
    assert named in said
    assert "Errno" not in said
    assert "Traceback" not in said
    assert said.count("\n") == 0
    assert box.audit().requests == 0


@pytest.mark.parametrize("kind", READ)
@pytest.mark.parametrize("what", READING)
def test_what_cannot_be_read_is_named(
    box: Sandbox, settings: Settings, tmp_path: Path, what: str, kind: Callable[[Path, str], Path]
) -> None:
    """By the setting or the word for it, and by its path."""
    job, ending, named = READING[what]
    path = kind(tmp_path, ending)
    check(box, lambda: job(settings, path), path, named)


@pytest.mark.parametrize("kind", [below_a_file, too_long, folder, looping, with_nul])
@pytest.mark.parametrize("what", WRITING)
def test_what_cannot_be_written_is_named(
    box: Sandbox, settings: Settings, tmp_path: Path, what: str, kind: Callable[[Path, str], Path]
) -> None:
    """Before anything is sent, whoever would write it."""
    job, ending, named = WRITING[what]
    path = kind(tmp_path, ending)
    check(box, lambda: job(settings, path), path, named)


def test_a_link_to_nothing_is_told_as_one(tmp_path: Path) -> None:
    """Its own name would be no help."""
    path = dangling(tmp_path, ".csv")
    with pytest.raises(CatalogError, match=f"It is a link to {tmp_path}/gone/file, which doesn't"):
        open_catalog(path)


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)),
        MemoryError(),
        EOFError("cut"),
        duckdb.OutOfMemoryException("full"),
        pa.ArrowInvalid("odd"),
        sqlite3.OperationalError("disk I/O error"),
        zlib.error("cut"),
    ],
)
def test_ways_in_raise_errors_of_ours(error: Exception) -> None:
    """Functions and coroutines do; what isn't the system's or an engine's stays what it is."""

    @raising_ours
    def called() -> None:
        raise error

    @raising_ours
    async def awaited() -> None:
        raise error

    @raising_ours
    def mistaken() -> None:
        raise KeyError("a fault of the program")

    for way_in in (called, lambda: asyncio.run(awaited())):
        with pytest.raises(MachineError) as caught:
            way_in()
        assert caught.value.__cause__ is error
        assert caught.value.fix
    with pytest.raises(KeyError):
        mistaken()


def test_an_error_that_stands_behind_itself_is_raised() -> None:
    """Whoever looks at what is behind an error comes to an end, however the errors are linked."""
    one, other = IncartsError("one"), ValueError("other")

    @raising_ours
    def fails() -> None:
        other.__cause__ = one
        raise one from other

    @raising_ours
    def fails_alone() -> None:
        raise one from one

    for way_in in (fails, fails_alone):
        with pytest.raises(IncartsError, match="one"):
            way_in()
