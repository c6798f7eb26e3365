"""The asset `incarts/links`: a catalog in, links.parquet out, each link made exactly once.

Settings come from the environment (`INCARTS_API_BASE_URL`, `INCARTS_API_KEY`,
`INCARTS_PROJECT_ID`, `INCARTS_LEDGER`) when the asset runs; no secret is part of the definitions.
"""

from collections.abc import Iterator
from pathlib import Path

import dagster as dg

from incarts_pipeline.door import run_blocking
from incarts_pipeline.pipeline import PlanRequest, RunResult, apply_plan, plan_catalog, refuse
from incarts_pipeline.settings import load_settings
from incarts_pipeline.writer import WriteOptions

SAMPLES = Path(__file__).parent.parent / "sample_data"


class LinksConfig(dg.Config):
    """What the asset reads and writes; the defaults are the sample catalog."""

    catalog: str = str(SAMPLES / "catalog.csv")
    mapping: str = str(SAMPLES / "mapping.yaml")
    output: str = "links.parquet"
    limit: int | None = None
    approve: str | None = None


@dg.asset(
    key=["incarts", "links"],
    group_name="incarts",
    kinds={"incarts", "parquet"},
    description="One row per catalog row, with its link or the reason why it has none.",
)
def links(
    context: dg.AssetExecutionContext, config: LinksConfig
) -> Iterator[dg.MaterializeResult[None]]:
    """Make the links that the catalog asks for and publish links.parquet.

    Raises:
        dagster.Failure: rows are pending; what was done is recorded, and a retry sends nothing
            twice.
    """
    settings = load_settings()
    request = PlanRequest(catalog=config.catalog, mapping=Path(config.mapping))
    options = WriteOptions(limit=config.limit, approved=config.approve)
    with plan_catalog(request, settings) as plan:
        refuse(plan.figures, config.approve)
        result = run_blocking(
            lambda stop: apply_plan(plan, settings, config.output, options=options, stop=stop)
        )
    context.log.info("run %s of %s", result.written.run_id, config.catalog)
    yield dg.MaterializeResult(metadata=_metadata(result, Path(config.output)))
    if result.exit_code() in (1, 4):
        end = result.written.end
        raise dg.Failure(
            f"{end.message} {end.fix}" if end else "Rows are pending: run again to go on.",
            allow_retries=result.exit_code() == 4,
        )


def _metadata(result: RunResult, output: Path) -> dict[str, dg.MetadataValue | int | float | str]:
    counts = {f"incarts/{s.value}": n for s, n in result.published.by_status.items()}
    return {
        "dagster/row_count": sum(counts.values()),
        **counts,
        "incarts/requests": result.written.requests,
        "incarts/seconds": round(result.seconds, 3),
        "incarts/run_id": result.written.run_id,
        "path": dg.MetadataValue.path(output.absolute()),
    }


defs = dg.Definitions(assets=[links])
