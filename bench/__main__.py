"""`python -m bench`: measures pman beside its floor on a real engine, and prints the figures."""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

from bench import cluster, report, slurm
from bench.measure import FULL, QUICK, Extent, run
from bench.results import Results, conditions, from_json
from bench.wire import WrongAnswer


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="about a minute; the figures are rough")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every figure to FILE")
    parser.add_argument(
        "--markdown", action="store_true", help="print the tables as bench/README.md has them"
    )
    parser.add_argument(
        "--from", type=Path, metavar="FILE", dest="earlier", help="show FILE; measure nothing"
    )
    parser.add_argument("--slurm", action="store_true", help="SLURM alone, by SLURMRESTD_URL and SLURM_JWT")
    options = parser.parse_args()
    show = report.markdown if options.markdown else report.text
    if options.earlier:
        print(show(from_json(options.earlier.read_text())))
        return 0
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    if options.slurm:
        print(slurm.markdown(slurm.measure(lambda what: print(what, file=sys.stderr, flush=True))))
        return 0
    try:
        results = measured(QUICK if options.quick else FULL)
    except KeyboardInterrupt:
        return 130
    except (OSError, WrongAnswer, RuntimeError) as error:
        print(f"bench: {error}", file=sys.stderr)
        return 1
    if options.json:
        options.json.write_text(json.dumps(asdict(results), indent=1))
    print(show(results))
    return 0


def measured(extent: Extent) -> Results:
    """On the engines and with the image that the environment names, telling on stderr how far it is.

    Raises RuntimeError where there is no engine at all.
    """
    engine = os.environ.get("DOCKER_HOST") or "unix:///var/run/docker.sock"
    image = os.environ.get("PMAN_BENCH_IMAGE") or "localhost/pman-test:1"
    began = time.monotonic()

    def tell(what: str) -> None:
        print(f"{time.monotonic() - began:5.0f} s  {what}", file=sys.stderr, flush=True)

    kubeconfig = os.environ.get("KUBECONFIG")
    results = Results(conditions=conditions(image))

    def attempt(name: str, variable: str, measure: Callable[[], None]) -> None:
        tell(f"{name}: {variable}, PMAN_BENCH_IMAGE={image}")
        try:
            measure()
        except OSError as error:
            results.skipped[name] = f"{variable}: {error}"
            tell(f"{name} is skipped: {variable}: {error}")

    attempt("docker", f"DOCKER_HOST={engine}", lambda: run(engine, image, extent, results, tell))
    if kubeconfig:
        attempt(
            "kubernetes",
            f"KUBECONFIG={kubeconfig}",
            lambda: cluster.measure(kubeconfig, image, extent, results, tell),
        )
    else:
        results.skipped["kubernetes"] = "KUBECONFIG is not set"
    if len(results.skipped) == 2:
        raise RuntimeError("no engine: " + "; ".join(results.skipped.values()))
    results.conditions["load average"] += f" before, {os.getloadavg()[0]:.1f} at the end"
    results.conditions["seconds in all"] = f"{time.monotonic() - began:.0f}"
    return results


if __name__ == "__main__":
    sys.exit(main())
