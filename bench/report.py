"""The figures as tables, for a terminal or for the README; and beside the aims."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from bench.results import Clustered, Loaded, Results


@dataclass(frozen=True, slots=True)
class Table:
    title: str
    heads: Sequence[str]
    rows: Sequence[Sequence[str]]


def tables(results: Results) -> Iterator[Table]:
    yield Table("Aims", ("aim", "measured", "met"), [*_aims(results)])
    heads = (
        "",
        "pairs",
        "pman median / p95 ms",
        "floor median / p95 ms",
        "ratio (95 % interval)",
        "more, ms",
    )
    for title, measured in (
        ("Submit, 1 client", results.submits),
        ("Poll, 1 client", results.polls),
        ("Kubernetes: poll, 1 client", results.cluster_polls),
    ):
        rows = [
            (
                kind,
                f"{found.pman.count:,}",
                f"{found.pman.median:.2f} / {found.pman.p95:.2f}",
                f"{found.floor.median:.2f} / {found.floor.p95:.2f}",
                f"{found.ratio:.2f} ({found.low:.2f} to {found.high:.2f})" if found.pman.count > 1 else "",
                f"{found.extra:+.2f}",
            )
            for kind, found in measured.items()
        ]
        yield Table(title, heads, rows)
    yield Table(
        "Polls under load",
        (
            "jobs polled",
            "clients",
            "pman polls/s",
            "p50 / p95 ms",
            "errors",
            "CPU s / 1,000 polls",
            "dockerd's",
            "floor polls/s",
            "p50 / p95 ms",
            "dockerd's CPU s / 1,000",
            "load generator, share of a CPU",
        ),
        [_load(found) for found in results.loads],
    )
    yield Table(
        "Kubernetes: polls under load",
        (
            "jobs polled",
            "clients",
            "pman polls/s",
            "p50 / p95 ms",
            "errors",
            "CPU s / 1,000 polls",
            "requests to the API server / 1,000 polls",
            "logs / 1,000 polls",
        ),
        [_clustered(found) for found in results.cluster_loads],
    )
    starts = [
        (f"first answer to {path}, median / slowest of {found.count}", _seconds(found.median, found.p95))
        for path, found in results.starts.items()
    ]
    memory = [(f"memory {when}", f"{size:.0f} MiB") for when, size in results.memory.items()]
    yield Table("The process", ("", "measured"), [*starts, *memory])
    skipped = [(f"{engine} is skipped", why) for engine, why in results.skipped.items()]
    conditions = [(name, str(value)) for name, value in results.conditions.items()]
    yield Table("Conditions", ("", ""), [*conditions, *skipped])


def _aims(results: Results) -> Iterator[Sequence[str]]:
    if results.loads:
        yield from _aims_on_docker(results)
    if results.cluster_loads:
        yield from _aims_on_a_cluster(results)


def _aims_on_a_cluster(results: Results) -> Iterator[Sequence[str]]:
    at_32 = next(found for found in results.cluster_loads if found.clients == 32)
    yield (
        f"Kubernetes: a poll below 5 ms (median), 32 clients: {at_32.jobs}",
        f"{at_32.pman.median:.1f} ms, {at_32.pman.errors} errors",
        _met(at_32.pman.median < 5 and not at_32.pman.errors),
    )
    asked = max(found.requests for found in results.cluster_loads)
    yield (
        "Kubernetes: fewer than 10 requests to the API server, but for logs, for 1,000 polls",
        f"{asked:.2f} at the most",
        _met(asked < 10),
    )


def _aims_on_docker(results: Results) -> Iterator[Sequence[str]]:
    finished = [kind for kind in results.polls if kind.endswith("finished")]
    few, many = finished[0], finished[-1]
    for kind in (many, "running, log of 5 lines"):
        poll = results.polls[kind]
        yield f"a poll at most 2.5 x the floor: {kind}", f"{poll.ratio:.2f} x", _met(poll.ratio <= 2.5)
    for clients, aim in ((32, 3400), (128, 1000)):
        rate = min(found.pman.per_second for found in _loads(results, clients))
        errors = sum(found.pman.errors for found in _loads(results, clients))
        yield (
            f"at least {aim:,} polls/s without an error, {clients} clients, finished jobs",
            f"{rate:,.0f} polls/s, {errors} errors",
            _met(rate >= aim and not errors),
        )
    for whose, limit, spent in (
        ("pman", 0.5, [found.cpu for found in results.loads if found.jobs == many]),
        ("dockerd", 0.05, [found.engine_cpu for found in results.loads if found.jobs == many]),
    ):
        known = [one for one in spent if one is not None]
        if known:
            yield (
                f"at most {limit} CPU seconds of {whose} for 1,000 polls: {many}",
                f"{max(known):.3f} s at the most",
                _met(max(known) <= limit),
            )
    for kind, submit in results.submits.items():
        yield (
            f"a submit at most 1.04 x the floor: {kind}",
            f"{submit.ratio:.3f} x ({submit.low:.3f} to {submit.high:.3f})",
            _met(submit.ratio <= 1.04),
        )
    memory = results.memory["after the load"]
    yield "less than 100 MiB", f"{memory:.0f} MiB", _met(memory < 100)
    start = max(found.median for found in results.starts.values())
    yield "the first answer within 1 s", f"{start / 1e3:.2f} s", _met(start <= 1000)
    growth = results.polls[many].ratio / results.polls[few].ratio
    yield (
        f"no growth with the number of jobs: {many} against {few}",
        f"{growth:.2f} x, beside the floor",
        _met(growth <= 1.1),
    )


def _loads(results: Results, clients: int) -> list[Loaded]:
    return [found for found in results.loads if found.jobs.endswith("finished") and found.clients == clients]


def _load(found: Loaded) -> Sequence[str]:
    return (
        found.jobs,
        str(found.clients),
        f"{found.pman.per_second:,.0f}",
        f"{found.pman.median:.1f} / {found.pman.p95:.1f}",
        str(found.pman.errors),
        f"{found.cpu:.2f}",
        _cpu(found.engine_cpu),
        f"{found.floor.per_second:,.0f}",
        f"{found.floor.median:.1f} / {found.floor.p95:.1f}",
        _cpu(found.floor_cpu),
        f"{found.pman.generator:.2f}",
    )


def _clustered(found: Clustered) -> Sequence[str]:
    return (
        found.jobs,
        str(found.clients),
        f"{found.pman.per_second:,.0f}",
        f"{found.pman.median:.1f} / {found.pman.p95:.1f}",
        str(found.pman.errors),
        f"{found.cpu:.2f}",
        f"{found.requests:.2f}",
        f"{found.logs:.2f}",
    )


def _cpu(seconds: float | None) -> str:
    return "" if seconds is None else f"{seconds:.3f}"


def _met(met: bool) -> str:
    return "yes" if met else "no"


def _seconds(median: float, slowest: float) -> str:
    return f"{median / 1e3:.2f} s / {slowest / 1e3:.2f} s"


def text(results: Results) -> str:
    """For a terminal: columns aligned."""
    parts = []
    for table in filter(lambda table: table.rows, tables(results)):
        lines = [table.heads, *table.rows]
        widths = [max(len(line[column]) for line in lines) for column in range(len(table.heads))]
        shown = [
            "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
            for line in lines
        ]
        parts.append("\n".join([table.title, *(f"  {line}" for line in shown if line)]))
    return "\n\n".join(parts)


def markdown(results: Results) -> str:
    """For bench/README.md."""
    parts = []
    for table in filter(lambda table: table.rows, tables(results)):
        lines = [table.heads, ["---"] * len(table.heads), *table.rows]
        parts.append(f"### {table.title}\n\n" + "\n".join(f"| {' | '.join(line)} |" for line in lines))
    return "\n\n".join(parts)
