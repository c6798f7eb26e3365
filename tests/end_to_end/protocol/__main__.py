"""`python -m tests.end_to_end.protocol` prints the table of docs/exactly-once.md, and traces."""

from __future__ import annotations

from collections.abc import Iterator

from incarts_pipeline.text import counted
from tests.end_to_end.protocol.explore import explore
from tests.end_to_end.protocol.rules import Rules
from tests.end_to_end.protocol.variants import ALL_BOUNDS, VARIANTS


def table() -> Iterator[str]:
    """Yield a line for each broken rule: what comes of it."""
    for one in VARIANTS:
        yield f"| {one.told} | {one.wrong} |"


def main() -> None:
    """Search everything, and print what was found."""
    for line in table():
        say(line)
    for variant in VARIANTS:
        say(f"\n{variant.told}:\n{explore(variant.rules, variant.bounds)}")
    for bounds in ALL_BOUNDS:
        found = explore(Rules(), bounds)
        what = f"{counted(found.worlds, 'world')}, {counted(found.transitions, 'step')}"
        say(f"{bounds}: {what}, {found.depth} deep, {found.wrong or 'nothing is wrong'}")


def say(text: str) -> None:
    """Print a line at once."""
    print(text, flush=True)  # noqa: T201


if __name__ == "__main__":
    main()
