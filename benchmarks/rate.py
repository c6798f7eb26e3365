"""The rate controller against limits of every kind, in simulated time.

    python benchmarks/rate.py [--seconds 1800] [--quick]

For each limit, without any hint, with 1 and with 8 workers of unequal latency: the share of the
budget that was used and the share of 429s in the steady state, the 429s before it, and what was
learned. The same limits and the same simulator are what the tests use.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

from incarts_pipeline.pacing.controller import RateController
from tests.rates.limiters import LIMITERS
from tests.rates.simulator import Simulation

WARM = 300.0  # seconds


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=float, default=1_800.0)
    parser.add_argument("--quick", action="store_true")
    options = parser.parse_args()
    seconds = 900.0 if options.quick else options.seconds
    print(f"{'limit':26}{'workers':>8}{'use':>9}{'429s':>8}{'before':>8}  learned")
    for name, make in LIMITERS.items():
        for workers in (1, 8):
            limiter, controller = make(), RateController(100.0)
            result = Simulation(limiter, controller, workers=workers).run(seconds)
            use = result.use(limiter.rate, WARM, seconds)
            early = sum(at <= WARM for at in result.refused)
            print(
                f"{name:26}{workers:8}{use:9.2%}{result.refusals(WARM):8.2%}{early:8}"
                f"  {controller.learned}"
            )


if __name__ == "__main__":
    main()
