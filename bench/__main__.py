"""`python -m bench`: measures pman beside its floor on a real engine, and prints the figures."""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import time
from dataclasses import asdict
from pathlib import Path

from bench import report
from bench.measure import FULL, QUICK, run
from bench.wire import WrongAnswer


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="about a minute; the figures are rough")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every figure to FILE")
    parser.add_argument(
        "--markdown", action="store_true", help="print the tables as bench/README.md has them"
    )
    options = parser.parse_args()
    engine = os.environ.get("DOCKER_HOST") or "unix:///var/run/docker.sock"
    image = os.environ.get("PMAN_BENCH_IMAGE") or "localhost/pman-test:1"
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    began = time.monotonic()

    def tell(what: str) -> None:
        print(f"{time.monotonic() - began:5.0f} s  {what}", file=sys.stderr, flush=True)

    try:
        results = run(engine, image, QUICK if options.quick else FULL, tell)
    except KeyboardInterrupt:
        return 130
    except (OSError, WrongAnswer, RuntimeError) as error:
        print(f"bench: {error}", file=sys.stderr)
        print(
            f"bench: needs an engine (DOCKER_HOST={engine}) with {image} (PMAN_BENCH_IMAGE)", file=sys.stderr
        )
        return 1
    if options.json:
        options.json.write_text(json.dumps(asdict(results), indent=1))
    print(report.markdown(results) if options.markdown else report.text(results))
    return 0


if __name__ == "__main__":
    sys.exit(main())
