"""Checks of published links, which run with the asset."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import dagster as dg

from incarts_pipeline.dagster.config import LinksConfig
from incarts_pipeline.dagster.reasons import COLUMNS, WRONG, Wrong
from incarts_pipeline.outgoing import shown

if TYPE_CHECKING:
    import duckdb
    import pyarrow as pa

NO_ROW_LOST = "no_row_lost"
ONE_LINK_PER_CONTENT = "one_link_per_content"
REJECTED_SHARE = "rejected_share"
SUSPICIOUS_SHARE = "suspicious_share"
NEW_REJECTS = "new_rejects"
NOTHING_IN_DOUBT = "nothing_in_doubt"
NOTHING_STALE = "nothing_stale"

_SHOWN = 5
_COLUMNS = ("catalog_row", "link_set", "row_key", "status", "link_id", "link_content_hash")


def check_specs(key: dg.AssetKey) -> list[dg.AssetCheckSpec]:
    """Return the checks of a links asset; the first two stop what is downstream."""
    described = {
        NO_ROW_LOST: "Every catalog row is in links.parquet, and belongs to a partition.",
        ONE_LINK_PER_CONTENT: "No row has two links for one content, and no two rows one link.",
        REJECTED_SHARE: "Few rows are rejected.",
        SUSPICIOUS_SHARE: "Few rows are held because something about them looks wrong.",
        NEW_REJECTS: "No row is rejected that was fine in the last run.",
        NOTHING_IN_DOUBT: "No row was sent without a known answer.",
        NOTHING_STALE: "Every link is of the catalog's content.",
    }
    # A rejected row is a matter of data, and the night goes on. A lost or doubled one means that
    # the output can't be trusted.
    blocking = (NO_ROW_LOST, ONE_LINK_PER_CONTENT)
    return [
        dg.AssetCheckSpec(name, asset=key, description=text, blocking=name in blocking)
        for name, text in described.items()
    ]


@dataclass
class Findings:
    """What was found in the output of one run, added up over its partitions."""

    rows: int = 0  # in the output
    catalog_rows: int = 0  # that were read
    published_rows: int = 0  # of them in the output
    expected: int = 0  # rows that the plan wanted in the output
    elsewhere: dict[str, int] = field(default_factory=dict)  # rows of no known partition
    doubles: list[str] = field(default_factory=list)
    rejected: Wrong = field(default_factory=Wrong)
    suspicious: Wrong = field(default_factory=Wrong)
    in_doubt: Wrong = field(default_factory=Wrong)
    stale: Wrong = field(default_factory=Wrong)
    new_rejected: list[str] = field(default_factory=list)
    first_time: bool = False  # there was no output to compare with

    def add(self, links: str, before: pa.Table | None, *, catalog_rows: int, expected: int) -> None:
        """Look at one partition's output; `before` holds the rejects of the one before it.

        Args:
            links: path or URI of links.parquet.
            before: the rejects of the output before; None when there was none.
            catalog_rows: rows that were read.
            expected: rows that the plan wanted in the output.
        """
        import duckdb

        from incarts_pipeline.models import SUSPICIONS
        from incarts_pipeline.publish import Output

        with duckdb.connect() as db:
            db.register("links", _read(links, _COLUMNS))
            # Copied once: a view over Arrow would be scanned by each of the queries.
            db.execute("CREATE TABLE l AS SELECT * FROM links")
            counts = _COUNTS_OF_DATASET if Output(links=links).is_dataset else _COUNTS
            [(rows, published)] = db.execute(counts).fetchall()
            self.rows += rows
            self.published_rows += published
            db.register("rows", _doubtful(links))
            db.execute(WRONG, {"suspicions": sorted(SUSPICIONS)})
            for kind in ("rejected", "suspicious", "in_doubt", "stale"):
                getattr(self, kind).add(db, kind)
            self.doubles += _texts(db, _DOUBLES)
            # The first run has nothing to compare with, so none of its rejects is new.
            if before is None:
                self.first_time = True
            else:
                db.register("before", before)
                self.new_rejected += _texts(db, _NEW_REJECTS)
        self.catalog_rows += catalog_rows
        self.expected += expected

    def results(self, config: LinksConfig) -> Iterator[dg.AssetCheckResult]:
        """Yield what each check says."""
        yield self._no_row_lost()
        yield _result(
            ONE_LINK_PER_CONTENT,
            self.doubles,
            severity=dg.AssetCheckSeverity.ERROR,
            fix="Keep both links, print neither, and tell Incarts: `incarts review evidence`.",
        )
        yield self._share(REJECTED_SHARE, self.rejected, config.max_rejected_share, "rejected")
        most, what = config.max_suspicious_share, "held as suspicious"
        yield self._share(SUSPICIOUS_SHARE, self.suspicious, most, what)
        yield _warning(
            NEW_REJECTS,
            passed=len(self.new_rejected) <= config.max_new_rejected,
            text="There was no run to compare with."
            if self.first_time and not self.new_rejected
            else f"{len(self.new_rejected):,} rows are rejected that were fine in the last run.",
            metadata=_listed(self.new_rejected),
        )
        fix = " `incarts review list` says more." if self.in_doubt.rows else ""
        what = "are in doubt"
        yield _counted(NOTHING_IN_DOUBT, self.in_doubt, config.max_in_doubt, what, fix)
        what = "have a link of older content (is_stale)"
        yield _counted(NOTHING_STALE, self.stale, config.max_stale, what)

    def _share(self, name: str, found: Wrong, most: float, what: str) -> dg.AssetCheckResult:
        # No rows is no share: an empty catalog has a guard of its own.
        share = found.rows / self.rows if self.rows else 0.0
        text = f"{found.rows:,} of {self.rows:,} rows are {what}"
        if found.rows:
            text += f", {percent(share)} (accepted: {percent(most)}): {found.said()}"
        return _warning(
            name,
            passed=share <= most,
            text=f"{text}.",
            metadata={
                "rows": found.rows,
                "percent": round(100 * share, 1),  # a number, which Dagster plots over time
                "accepted": percent(most),
                **found.tables(),
            },
        )

    def _no_row_lost(self) -> dg.AssetCheckResult:
        # Two counts, because a wide table has several output rows for each catalog row.
        lost = self.catalog_rows - self.published_rows
        missing = self.expected - self.rows
        if lost or missing:
            return dg.AssetCheckResult(
                check_name=NO_ROW_LOST,
                passed=False,
                description=f"{lost:,} of {self.catalog_rows:,} catalog rows are not in the "
                f"output, which has {self.rows:,} of {self.expected:,} rows.",
            )
        if self.elsewhere:
            rows = sum(self.elsewhere.values())
            values = ", ".join(f"{value} ({n:,})" for value, n in sorted(self.elsewhere.items()))
            return _warning(
                NO_ROW_LOST,
                passed=False,
                text=f"{rows:,} rows are in no partition, so nobody makes their links: {values}.",
                metadata={"rows": rows},
            )
        return dg.AssetCheckResult(
            check_name=NO_ROW_LOST,
            passed=True,
            metadata={"catalog_rows": self.catalog_rows, "output_rows": self.rows},
        )


def rejects_of(links: str) -> pa.Table | None:
    """Return the rejected rows of an output as it is now; None when there is none yet."""
    import pyarrow.compute as pc
    from pyarrow import ArrowInvalid

    from incarts_pipeline.publish import exists

    if not exists(links):
        return None
    try:
        table = _read(links, ["catalog_row", "link_set", "row_key", "status"])
    except ArrowInvalid:  # no table of links, which the run refuses to write over
        return None
    return table.filter(pc.equal(table["status"], "rejected"))


def content_version(links: str) -> str:
    """Return what the output says, whatever the order of its rows: equal content, equal text."""
    import duckdb

    from incarts_pipeline.plan import text_sum

    with duckdb.connect() as db:
        db.register("links", _read(links, [*_COLUMNS, "is_stale"]))
        found = text_sum(db, "FROM links", _VERSION)
    return f"{found.rows}-{found.total:x}"


def percent(share: float) -> str:
    """Return a share as people read it: one decimal, and none where it says nothing."""
    return f"{round(100 * share, 1):g} %"


def _read(links: str, columns: Sequence[str], filters: Any = None) -> pa.Table:
    from incarts_pipeline.publish import read_published

    return read_published(links, columns, filters)


def _doubtful(links: str) -> pa.Table:
    """Return the rows that a check may want to show, with what is said of them."""
    import pyarrow.compute as pc

    wrong = pc.field("status").isin(["rejected", "held", "in_doubt"]) | pc.field("is_stale")
    return _read(links, [*_COLUMNS, *COLUMNS, "is_stale"], wrong)


def _texts(db: duckdb.DuckDBPyConnection, query: str) -> list[str]:
    return [text for (text,) in db.execute(query).fetchall()]


def _listed(rows: Sequence[str]) -> Mapping[str, object]:
    return (
        {"rows": len(rows), "first": "\n".join(map(shown, rows[:_SHOWN]))} if rows else {"rows": 0}
    )


def _counted(name: str, found: Wrong, most: int, what: str, fix: str = "") -> dg.AssetCheckResult:
    text = f"{found.rows:,} rows {what}" + (f": {found.said()}" if found.rows else "")
    return _warning(
        name,
        passed=found.rows <= most,
        text=f"{text}.{fix}",
        metadata={"rows": found.rows, "accepted": most, **found.tables()},
    )


def _result(
    name: str, wrong: Sequence[str], *, severity: dg.AssetCheckSeverity, fix: str
) -> dg.AssetCheckResult:
    if not wrong:
        return dg.AssetCheckResult(check_name=name, passed=True)
    return dg.AssetCheckResult(
        check_name=name,
        passed=False,
        severity=severity,
        description=f"{len(wrong):,} times: {shown(wrong[0])}. {fix}",
        metadata=_listed(wrong),  # type: ignore[arg-type]
    )


def _warning(
    name: str, *, passed: bool, text: str, metadata: Mapping[str, object]
) -> dg.AssetCheckResult:
    return dg.AssetCheckResult(
        check_name=name,
        passed=passed,
        severity=dg.AssetCheckSeverity.WARN,
        description=text,
        metadata=metadata,  # type: ignore[arg-type]
    )


_COUNTS = """
SELECT COUNT(*), COUNT(DISTINCT catalog_row) FROM l
"""
# Each link set has a row for every catalog row; where it stands there, a dataset may know no more.
_COUNTS_OF_DATASET = """
SELECT COUNT(*), COALESCE((SELECT MIN(n) FROM (SELECT COUNT(*) AS n FROM l GROUP BY link_set)), 0)
FROM l
"""

# Texts are only put together for what is wrong: over all groups that would take seconds.
_DOUBLES = """
WITH made AS (
    SELECT link_id, row_key, link_set, COALESCE(link_content_hash, '') AS content
    FROM l WHERE link_id IS NOT NULL
), rows_of_many AS (
    SELECT link_set, row_key, content FROM made
    GROUP BY ALL HAVING MIN(link_id) <> MAX(link_id)
), links_of_many AS (
    SELECT link_id FROM made
    GROUP BY link_id HAVING MIN(link_set) <> MAX(link_set) OR MIN(row_key) <> MAX(row_key)
)
SELECT 'row ' || row_key || ' of ' || link_set || ' has the links '
       || STRING_AGG(DISTINCT link_id, ', ' ORDER BY link_id) AS text
FROM made JOIN rows_of_many USING (link_set, row_key, content)
GROUP BY link_set, row_key, content
UNION ALL
SELECT 'link ' || link_id || ' is used by the rows '
       || STRING_AGG(DISTINCT row_key, ', ' ORDER BY row_key)
FROM made JOIN links_of_many USING (link_id)
GROUP BY link_id
ORDER BY text
"""

_NEW_REJECTS = """
SELECT COALESCE(row_key, 'catalog row ' || catalog_row) || ' of ' || link_set || ': '
       || COALESCE(found[1].field || ': ' || found[1].message, error_message, error_code, reason)
       AS text
FROM wrong AS l WHERE kind = 'rejected' AND NOT EXISTS (
    FROM before AS b WHERE b.link_set = l.link_set AND b.row_key IS NOT DISTINCT FROM l.row_key
        AND (l.row_key IS NOT NULL OR b.catalog_row = l.catalog_row)
)
ORDER BY text
"""

_VERSION = (
    "link_set",
    "COALESCE(row_key, catalog_row::VARCHAR)",
    "status",
    "link_id",
    "is_stale::VARCHAR",
)
