"""Cost model of catalogs of any size: what `docs/scale.md` reckons from what was measured.

    python benchmarks/cost_model.py [--rows 300 1000000] [--per-second 100] [--write docs/scale.md]

`MEASURED` has the figures of two cores that `scale.py`, `look.py`, `ledger_postgres.py` and the
page about many hosts give, each per row or per link; all else follows by multiplication. With
`--write` the table between the marks of that page is written anew.
"""

from __future__ import annotations

import argparse
import re
from pathlib import Path

ROWS = (300, 10_000, 100_000, 1_000_000, 10_000_000, 100_000_000, 470_000_000)
MARK = "<!-- {}reckoned -->"

START = 1.0  # processor second, whatever the night
# Per row: processor seconds of a night. Per link: bytes.
MEASURED = {
    "first night": 35e-6,  # scale.py, ten million rows: all planned and published
    "1 % changed": 9.4e-6,  # one row in a hundred is another
    "read again": 3.4e-6,  # look.py, a hundred million rows in files written again; ten: 2.1e-6
    "quiet night": 0.4e-6,  # the same files
    "SQLite": 1_500,
    "PostgreSQL": 2_200,  # packed; up to 4,000 before autovacuum
    "write-ahead log": 7_000,
    "snapshot": 34,  # look.py
}


def of_time(seconds: float) -> str:
    """Return a time as people say it."""
    for unit, size in (("days", 86_400.0), ("h", 3_600.0), ("min", 60.0)):
        if seconds >= size * 1.5:
            return f"{seconds / size:,.0f} {unit}"
    return f"{seconds:,.0f} s" if seconds >= 1 else "< 1 s"


def of_size(size: float) -> str:
    """Return a number of bytes as people say it."""
    for unit, factor in (("TB", 1e12), ("GB", 1e9), ("MB", 1e6)):
        if size >= factor:
            return (
                f"{size / factor:,.1f} {unit}"
                if size < 10 * factor
                else f"{size / factor:,.0f} {unit}"
            )
    return f"{size / 1e3:,.0f} kB"


def table(rows: list[int], per_second: float) -> str:
    """Return the Markdown table: a line for each size of catalog."""
    lines = [
        f"| rows | all links at {per_second:g} a second | ledger: SQLite, PostgreSQL | log "
        "| snapshot | first night | 1 % changed | read again | the same files |",
        "|--:|--:|--:|--:|--:|--:|--:|--:|--:|",
    ]
    for n in rows:
        size = {name: of_size(MEASURED[name] * n) for name in MEASURED}
        time = {name: of_time(START + MEASURED[name] * n) for name in MEASURED}
        lines.append(
            f"| {n:,} | {of_time(n / per_second)} | {size['SQLite']}, {size['PostgreSQL']} "
            f"| {size['write-ahead log']} | {size['snapshot']} | {time['first night']} "
            f"| {time['1 % changed']} | {time['read again']} | {time['quiet night']} |"
        )
    return "\n".join(lines)


def main() -> None:
    """Print the table, or write it into the page."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, nargs="+", default=list(ROWS))
    parser.add_argument("--per-second", type=float, default=100.0)
    parser.add_argument("--write", type=Path)
    options = parser.parse_args()
    found = table(options.rows, options.per_second)
    if options.write is None:
        print(found)
        return
    begin, end = MARK.format(""), MARK.format("end of ")
    page = options.write.read_text("utf-8")
    between = re.compile(f"{re.escape(begin)}.*?{re.escape(end)}", re.DOTALL)
    options.write.write_text(between.sub(f"{begin}\n{found}\n{end}", page), "utf-8")


if __name__ == "__main__":
    main()
