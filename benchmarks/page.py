"""The page about speed: tables and plots from what `compare.py` measured."""

from __future__ import annotations

import os
import platform
import re
import statistics
from importlib.metadata import version
from pathlib import Path
from typing import Any

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

Rounds = list[dict[str, float]]
MARK = "<!-- {} -->"
PARTS = ("preparing", "http", "ledger", "publishing", "rest")
PINNED = re.compile(r"^(aiohttp|dlt|drt-core|httpx|tenacity)==(.+)$", re.MULTILINE)


def median(rounds: Rounds, name: str) -> float:
    """Return the median of one figure."""
    return statistics.median(one[name] for one in rounds)


def table_of_senders(sent: dict[str, Rounds]) -> str:
    """Return the senders as a Markdown table: ours, and how many times as fast as each other."""
    lines = ["| | links/s | range | CPU ms a link | ours is | of the CPU, ours takes |"]
    lines.append("|---|--:|--:|--:|--:|--:|")
    for name, rounds in sent.items():
        speeds = [one["speed"] for one in rounds]
        faster = statistics.median(
            a["speed"] / b["speed"] for a, b in zip(sent["ours"], rounds, strict=True)
        )
        share = median(sent["ours"], "cpu") / median(rounds, "cpu")
        lines.append(
            f"| {name} | {statistics.median(speeds):,.0f} | {min(speeds):,.0f}–{max(speeds):,.0f} "
            f"| {median(rounds, 'cpu'):.2f} | {faster:.1f} × | {share:.0%} |"
        )
    return "\n".join(lines)


def table_of_parts(ours: Rounds) -> str:
    """Return where a link's processor time goes as a Markdown table."""
    whole = median(ours, "cpu")
    lines = ["| | CPU ms a link | share |", "|---|--:|--:|"]
    parts = {part: median(ours, part) for part in PARTS}
    lines += [f"| {part} | {cpu:.3f} | {cpu / whole:.0%} |" for part, cpu in parts.items()]
    return "\n".join(lines)


def table_of_nights(grown: list[dict[str, Any]]) -> str:
    """Return the quiet nights as a Markdown table."""
    lines = ["| rows | CPU s | CPU µs a row | wall s | largest memory, MB |"]
    lines.append("|--:|--:|--:|--:|--:|")
    for one in grown:
        plan = one["plan"]
        lines.append(
            f"| {one['rows']:,} | {plan['cpu']:.1f} | {plan['cpu'] / one['rows'] * 1e6:.1f} "
            f"| {plan['seconds']:.1f} | {plan['megabytes']:,.0f} |"
        )
    return "\n".join(lines)


def machine() -> str:
    """Name the machine and the versions."""
    pins = PINNED.findall((Path(__file__).parent / "constraints.txt").read_text())
    ours = ", ".join(f"{name} {version(name)}" for name in ("aiohttp", "duckdb", "pyarrow"))
    peers = ", ".join(" ".join(pin) for pin in pins)
    return (
        f"{os.cpu_count()} cores ({platform.machine()}), {platform.system()}, Python "
        f"{platform.python_version()}; ours: {ours}; peers: {peers}."
    )


def write(
    folder: Path,
    sent: dict[int, dict[str, Rounds]],
    away: dict[float, dict[str, Rounds]],
    grown: list[dict[str, Any]],
) -> None:
    """Put tables and plots into the page, between its marks; what wasn't measured stays."""
    tables = {f"senders {rows:,}": table_of_senders(found) for rows, found in sent.items()}
    tables |= {f"away {x * 1e3:.0f} ms": table_of_senders(found) for x, found in away.items()}
    if sent:
        most = sent[max(sent)]
        tables |= {"machine": machine(), "parts": table_of_parts(most["ours"])}
        _draw_senders(most, folder / "performance-senders.png")
    if grown:
        tables["nights"] = table_of_nights(grown)
        _draw_nights(grown, folder / "performance-nights.png")
    path = folder / "performance.md"
    text = path.read_text()
    for name, table in tables.items():
        begin, end = MARK.format(name), MARK.format(f"end of {name}")
        before, rest = text.split(begin)
        text = f"{before}{begin}\n{table}\n{end}{rest.split(end)[1]}"
    path.write_text(text)


def _draw_senders(sent: dict[str, Rounds], path: Path) -> None:
    figure = Figure(figsize=(7, 3), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    names = sorted(sent, key=lambda name: median(sent[name], "speed"))
    speeds = [[one["speed"] for one in sent[name]] for name in names]
    middles = [statistics.median(each) for each in speeds]
    away = [
        [middle - min(each) for middle, each in zip(middles, speeds, strict=True)],
        [max(each) - middle for middle, each in zip(middles, speeds, strict=True)],
    ]
    colors = ["tab:green" if name == "ours" else "tab:gray" for name in names]
    axes.barh(names, middles, xerr=away, color=colors)
    axes.set_xlabel("links a second: median, and the range of all rounds")
    figure.savefig(path, dpi=110, metadata={"Software": None})


def _draw_nights(grown: list[dict[str, Any]], path: Path) -> None:
    figure = Figure(figsize=(8, 3), layout="constrained")
    FigureCanvasAgg(figure)
    left, right = figure.subplots(1, 2)
    rows = [one["rows"] / 1e6 for one in grown]
    left.plot(rows, [one["plan"]["cpu"] for one in grown], "o-")
    left.set_ylabel("processor seconds")
    right.plot(rows, [one["plan"]["megabytes"] for one in grown], "o-")
    right.set_ylabel("largest memory, MB")
    for axes in (left, right):
        axes.set_xlabel("million rows")
        axes.set_xlim(left=0)
        axes.set_ylim(bottom=0)
    figure.savefig(path, dpi=110, metadata={"Software": None})
