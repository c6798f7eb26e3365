"""QR codes in one call: further ones of links that exist, each made once."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path

from incarts_pipeline.display.progress import progress as progress_of
from incarts_pipeline.display.reporting import check_places
from incarts_pipeline.errors import told_in
from incarts_pipeline.pipeline import RunResult
from incarts_pipeline.plan import QrRequest
from incarts_pipeline.qr_codes import apply_qr_codes, plan_qr_codes
from incarts_pipeline.settings import Settings, load_settings
from incarts_pipeline.sync import run_blocking
from incarts_pipeline.text import Surface
from incarts_pipeline.write import IfRunning, RunMetrics, WriteOptions


def create_qr_codes(
    source: object,
    settings: Settings | None = None,
    *,
    identifiers: Sequence[str] = (),
    name: str | None = None,
    link_set: str | None = None,
    output: str | Path = "qr_codes.parquet",
    retry_rejected: bool = False,
    limit: int | None = None,
    max_duration: float | None = None,
    if_running: IfRunning = IfRunning.WAIT,
    progress: bool = True,
) -> RunResult:
    """Make further QR codes of links, each once; running it again sends nothing twice.

    Args:
        source: a published links.parquet, or any table with a row per code; see `QrRequest`.
        settings: by default those of the environment and incarts.toml.
        identifiers: what each link's codes are called, `^[A-Za-z0-9-]{3,64}$`.
        name: a template of their names, 1 to 120 characters, like `"{sku} on the shelf"`.
        link_set: the set that the rows belong to, where the table doesn't tell.
        output: where the table of codes goes; its columns are `schemas.QR_CODES` behind the key's.
        retry_rejected: whether to try codes again that Incarts refused before.
        limit: the most codes to make.
        max_duration: seconds after which to stop.
        if_running: what to do about codes that another run is sending.
        progress: show how it gets on, in a terminal or a notebook.

    Raises:
        IncartsError: as `plan_qr_codes` and `apply_qr_codes` do.
    """
    with told_in(Surface.PYTHON):
        settings, metrics = settings or load_settings(), RunMetrics()
        settings.for_calls()
        check_places(output, None)
        request = QrRequest(
            source=source,
            identifiers=identifiers,
            name=name,
            link_set=link_set,
            retry_rejected=retry_rejected,
        )
        options = WriteOptions(limit=limit, max_duration=max_duration, if_running=if_running)
        with (
            plan_qr_codes(request, settings) as plan,
            progress_of(metrics, "QR codes") if progress else nullcontext(),
        ):
            return run_blocking(
                lambda stop: apply_qr_codes(
                    plan, settings, output, options=options, metrics=metrics, stop=stop
                )
            )
