"""`python -m tests.chaos --minutes 3 --seed 7`: exit code 0 where every promise was kept, 1 where one was broken."""

from __future__ import annotations

import argparse
import random
import shutil
import sys

from tests.chaos.alone import say, set_up


def main() -> int:
    """Run, and print the verdict."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--minutes", type=float, default=3.0, help="how long faults come (default: 3)")
    parser.add_argument("--seed", type=int, default=None, help="the same faults in the same order (default: any)")
    options = parser.parse_args()
    seed = options.seed if options.seed is not None else random.randrange(1_000_000)
    directory = set_up("queuesite-chaos-")
    from tests.chaos.run import Chaos, table

    say(f"chaos for {options.minutes:g} minutes, seed {seed}; logs and ledger in {directory}")
    chaos = Chaos(directory, options.minutes * 60, seed, say)
    verdict = chaos.execute()
    say(f"\n{table(verdict, chaos.faults)}\n")
    for problem in verdict.problems:
        say(f"BROKEN: {problem}")
    say("every promise was kept" if not verdict.problems else f"{len(verdict.problems)} problems")
    if not verdict.problems:
        shutil.rmtree(directory, ignore_errors=True)
    return 1 if verdict.problems else 0


if __name__ == "__main__":
    sys.exit(main())
