"""Charts as inline SVG: axes with round ticks, labels, a legend, and no script."""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

from incarts_pipeline.display.html.html import Element, el

_LEFT, _RIGHT, _TOP, _BOTTOM = 44, 10, 26, 24  # room for labels and legend, in SVG units
# Seconds that people count in: up to half a day, then whole days.
_TIME_STEPS = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 21600, 43200)
_DAYS_NAMED = 8  # dates that fit below a chart
_LATENCY_TICKS = tuple(m * 10.0**e for e in range(-3, 3) for m in (1, 2, 5))


@dataclass(frozen=True, slots=True, kw_only=True)
class Series:
    """Values of one name; `shape` is `area`, `line` or `bars`, None leaves a gap."""

    name: str
    tone: str
    shape: str
    values: Sequence[float | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Frame:
    """The drawing area: sizes in SVG units, and what its edges stand for."""

    width: int
    height: int
    right: float  # what the right edge stands for; the left is 0
    top: float  # what the upper edge stands for; the lower is 0

    def x(self, value: float) -> float:
        return _LEFT + (self.width - _LEFT - _RIGHT) * value / self.right

    def y(self, value: float) -> float:
        return self.height - _BOTTOM - (self.height - _TOP - _BOTTOM) * value / self.top


def over_time(title: str, width: float, series: Sequence[Series], *, wide: bool = False) -> Element:
    """Draw series against time; value `i` holds from `i * width` to `(i + 1) * width` seconds.

    Args:
        title: shown above, and read by screen readers.
        width: seconds that one value covers.
        series: the first one lies at the bottom.
        wide: whether it takes the whole width of the page.
    """
    right = max(max((len(one.values) for one in series), default=0), 1) * width
    times = _time_ticks(right, 12 if wide else 6)
    return _against(title, width, series, [(t, clock(t)) for t in times], right=right, wide=wide)


def by_day(title: str, first: dt.date, series: Sequence[Series]) -> Element:
    """Draw series against the calendar; value `i` is that of the `i`-th day.

    Args:
        title: shown above, and read by screen readers.
        first: the day of the first values.
        series: the first one lies at the bottom.
    """
    n = max((len(one.values) for one in series), default=1)
    step = math.ceil(n / _DAYS_NAMED)
    marks = [(i + 0.5, f"{first + dt.timedelta(days=i):%d %b}") for i in range(0, n, step)]
    return _against(title, 1.0, series, marks, right=float(n), wide=False)


def _against(
    title: str,
    width: float,
    series: Sequence[Series],
    marks: Sequence[tuple[float, str]],
    *,
    right: float,
    wide: bool,
) -> Element:
    """Draw series whose values each take `width` of an axis from 0 to `right` with these marks."""
    tallest = max((v for one in series for v in one.values if v is not None), default=0.0)
    ticks = round_ticks(tallest, whole=all(one.shape == "bars" for one in series))
    frame = _Frame(
        width=960 if wide else 460,
        height=250 if wide else 210,
        right=right,
        top=ticks[-1],
    )
    drawn = [shape for one in series for shape in _shapes(frame, one, width)]
    parts = [*_y_axis(frame, ticks), *_x_axis(frame, marks), *drawn]
    return _figure(title, frame, [*parts, *(_legend(series) if len(series) > 1 else ())], wide=wide)


def latencies(title: str, spread: Sequence[tuple[float, float, int]]) -> Element:
    """Draw answers by how long they took; the axis is logarithmic, as (from, to, answers) are.

    Args:
        title: shown above, and read by screen readers.
        spread: classes of answers: from and to in seconds, and how many.
    """
    ticks = round_ticks(max((n for _, _, n in spread), default=0), whole=True)
    # A little room at both ends, and never 0, which has no logarithm.
    low, high = (max(spread[0][0], 1e-3) / 1.1, spread[-1][1] * 1.1) if spread else (1e-3, 1.0)
    reach = math.log(high / low)
    frame = _Frame(width=460, height=210, right=reach, top=ticks[-1])

    def at(seconds: float) -> float:
        return max(0.0, math.log(max(seconds, low) / low))

    inner = [t for t in _LATENCY_TICKS if low <= t <= high]
    # Beyond seven labels they would touch: powers of ten alone.
    shown = inner if len(inner) <= 7 else [t for t in inner if f"{t:e}"[0] == "1"]
    bars = (
        el(
            "rect",
            x=frame.x(at(start)),
            y=frame.y(n),
            # A bar is seen even where its class is narrower than a line.
            width=max(0.8, frame.x(at(end)) - frame.x(at(start)) - 0.6),
            height=frame.y(0) - frame.y(n),
            class_="ic-fill ic-info",
        )
        for start, end, n in spread
        if n
    )
    marks = [(at(t), milliseconds(t)) for t in shown]
    return _figure(title, frame, [*_y_axis(frame, ticks), *_x_axis(frame, marks), *bars])


def round_ticks(tallest: float, *, whole: bool = False, most: int = 5) -> list[float]:
    """Return ticks from 0 to at least `tallest`, at steps of 1, 2 or 5 times a power of ten.

    Args:
        tallest: the largest value, from 0.
        whole: whether steps are whole numbers.
        most: about how many steps.
    """
    # An axis without height can't be drawn.
    if tallest < 1e-9:
        return [0.0, 1.0]
    rough = tallest / most
    power = 10.0 ** math.floor(math.log10(rough))
    # With a little slack, because 3 * 0.1 is more than 0.3.
    step = next(m * power for m in (1, 2, 5, 10) if m * power >= rough * (1 - 1e-9))
    step = max(step, 1.0) if whole else step
    steps = max(1, math.ceil(tallest / step - 1e-9))
    return [step * i for i in range(steps + 1)]


def clock(seconds: float) -> str:
    """Return a time since the start as an axis shows it."""
    if seconds < 60:
        return f"{seconds:g} s"
    hours, rest = divmod(round(seconds), 3600)
    minutes, left = divmod(rest, 60)
    if hours:
        return f"{hours} h {minutes:02d}" if minutes else f"{hours} h"
    return f"{minutes}:{left:02d} min" if left else f"{minutes} min"


def milliseconds(seconds: float) -> str:
    """Return a latency in the unit that reads best."""
    return f"{seconds * 1000:.3g} ms" if seconds < 1 else f"{seconds:.3g} s"


def _time_ticks(right: float, most: int) -> list[float]:
    days = 86_400.0 * math.ceil(right / 86_400.0 / most)
    step = next((float(s) for s in _TIME_STEPS if right / s <= most), days)
    return [step * i for i in range(int(right / step) + 1)]


def _figure(title: str, frame: _Frame, parts: Sequence[Element], *, wide: bool = False) -> Element:
    drawing = el(
        "svg",
        el("title", title),
        *parts,
        viewBox=f"0 0 {frame.width} {frame.height}",
        role="img",
    )
    caption = el("figcaption", title)
    return el("figure", caption, drawing, class_=f"ic-plot{' ic-wide' if wide else ''}")


def _y_axis(frame: _Frame, ticks: Sequence[float]) -> Iterator[Element]:
    for tick in ticks:
        y = frame.y(tick)
        kind = "ic-axis" if tick == 0 else "ic-grid"
        yield el("line", x1=_LEFT, y1=y, x2=frame.width - _RIGHT, y2=y, class_=kind)
        yield el("text", _short(tick), x=_LEFT - 6, y=y + 4, text_anchor="end")


def _x_axis(frame: _Frame, marks: Sequence[tuple[float, str]]) -> Iterator[Element]:
    base = frame.y(0)
    for value, name in marks:
        x = frame.x(value)
        yield el("line", x1=x, y1=base, x2=x, y2=base + 4, class_="ic-axis")
        # The outermost label would be cut off in the middle.
        last = x > frame.width - _RIGHT - 3.2 * len(name)
        yield el("text", name, x=x, y=base + 17, text_anchor="end" if last else "middle")


def _short(value: float) -> str:
    for size, unit in ((1e6, " M"), (1e4, " k")):
        if value >= size:
            return f"{value / (size if size == 1e6 else 1e3):g}{unit}"
    return f"{value:g}"


def _legend(series: Sequence[Series]) -> Iterator[Element]:
    x = float(_LEFT)
    for one in series:
        if one.shape == "line":
            yield el("path", d=f"M{x:g} 11h14", class_=f"ic-line {one.tone}")
        else:
            yield el("rect", x=x, y=6, width=14, height=10, rx=2, class_=f"ic-fill {one.tone}")
        yield el("text", one.name, x=x + 19, y=15)
        # SVG can't measure text; 6.2 units are a wide letter of this size.
        x += 34 + 6.2 * len(one.name)


def _shapes(frame: _Frame, series: Series, width: float) -> Iterator[Element]:
    draw: dict[str, Callable[[_Frame, Series, float], Iterator[Element]]] = {
        "area": _area,
        "line": _line,
        "bars": _bars,
    }
    yield from draw[series.shape](frame, series, width)


def _area(frame: _Frame, series: Series, width: float) -> Iterator[Element]:
    # Steps, not slopes: a value holds for its whole slice.
    path = [f"M{frame.x(0):.5g} {frame.y(0):.5g}"]
    for i, value in enumerate(series.values):
        path.append(f"V{frame.y(value or 0):.5g}H{frame.x((i + 1) * width):.5g}")
    yield el("path", d="".join(path) + f"V{frame.y(0):.5g}z", class_=f"ic-area {series.tone}")


def _line(frame: _Frame, series: Series, width: float) -> Iterator[Element]:
    path, before = [], None
    for i, value in enumerate(series.values):
        if value is not None:
            # A gap begins a new stretch, rather than a line over what isn't known.
            join = "V" if before is not None else f"M{frame.x(i * width):.5g} "
            path.append(f"{join}{frame.y(value):.5g}H{frame.x((i + 1) * width):.5g}")
        before = value
    if path:
        yield el("path", d="".join(path), class_=f"ic-line {series.tone}")


def _bars(frame: _Frame, series: Series, width: float) -> Iterator[Element]:
    edges = pairwise(frame.x(i * width) for i in range(len(series.values) + 1))
    for (left, right), value in zip(edges, series.values, strict=True):
        if value:
            yield el(
                "rect",
                x=left,
                y=frame.y(value),
                width=max(1.0, right - left - min(1.0, (right - left) / 4)),
                height=frame.y(0) - frame.y(value),
                class_=f"ic-fill {series.tone}",
            )
