"""`python -m incarts_pipeline.sandbox`: serve until a signal; prints how to reach it."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from incarts_pipeline.sandbox.config import SandboxConfig
from incarts_pipeline.sandbox.server import environment, serve


def main() -> None:
    """Read the options and serve."""
    parser = argparse.ArgumentParser(prog="incarts_pipeline.sandbox")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--state", type=Path)
    parser.add_argument("--config", default="{}", help="switches as a JSON object")
    options = parser.parse_args()
    config = SandboxConfig().with_changes(json.loads(options.config))

    def ready(base_url: str) -> None:
        sys.stdout.write(environment(config, base_url) + "\n")
        sys.stdout.flush()

    serve(config, port=options.port, state=options.state, ready=ready)


if __name__ == "__main__":
    main()
