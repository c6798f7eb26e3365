"""Program `python -m incarts_pipeline.sandbox`: serves until a signal, prints how to reach it."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from incarts_pipeline.sandbox.options import add_options, config_from_options
from incarts_pipeline.sandbox.server import environment, serve


def main(arguments: Sequence[str] | None = None) -> None:
    """Read the options and serve."""
    parser = argparse.ArgumentParser(
        prog="python -m incarts_pipeline.sandbox",
        description="Serve a local Incarts until SIGTERM or SIGINT.",
    )
    parser.add_argument("--port", type=int, default=0, help="0 lets the system choose")
    parser.add_argument("--state", type=Path, help="a file in which links survive a restart")
    add_options(parser)
    options = parser.parse_args(arguments)
    try:
        config = config_from_options(vars(options))
    except ValueError as error:
        parser.error(str(error))

    def ready(base_url: str, token: str) -> None:
        sys.stdout.write(environment(config, base_url, token) + "\n")
        # Whoever started us waits for this line, through a pipe.
        sys.stdout.flush()

    try:
        serve(config, port=options.port, state=options.state, ready=ready)
    except (OSError, ValueError) as error:
        parser.error(str(error))


if __name__ == "__main__":
    main()
