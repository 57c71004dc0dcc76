"""The figures as tables, for a terminal or for the README; and beside the aims."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from bench.results import Loaded, Results


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
    for title, measured in (("Submit, 1 client", results.submits), ("Poll, 1 client", results.polls)):
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
            "floor polls/s",
            "p50 / p95 ms",
            "load generator, share of a CPU",
        ),
        [_load(found) for found in results.loads],
    )
    starts = [
        (f"first answer to {path}, median / slowest of {found.count}", _seconds(found.median, found.p95))
        for path, found in results.starts.items()
    ]
    memory = [(f"memory {when}", f"{size:.0f} MiB") for when, size in results.memory.items()]
    yield Table("The process", ("", "measured"), [*starts, *memory])
    yield Table("Conditions", ("", ""), [(name, str(value)) for name, value in results.conditions.items()])


def _aims(results: Results) -> Iterator[Sequence[str]]:
    finished = [kind for kind in results.polls if kind.endswith("finished")]
    few, many = finished[0], finished[-1]
    for kind in (many, "running, log of 5 lines"):
        poll = results.polls[kind]
        yield f"a poll at most 2.5 x the floor: {kind}", f"{poll.ratio:.2f} x", _met(poll.ratio <= 2.5)
    for clients in (32, 128):
        rate = min(found.pman.per_second for found in _loads(results, clients))
        errors = sum(found.pman.errors for found in _loads(results, clients))
        yield (
            f"at least 1,000 polls/s without an error, {clients} clients, finished jobs",
            f"{rate:,.0f} polls/s, {errors} errors",
            _met(rate >= 1000 and not errors),
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
        f"{found.floor.per_second:,.0f}",
        f"{found.floor.median:.1f} / {found.floor.p95:.1f}",
        f"{found.pman.generator:.2f}",
    )


def _met(met: bool) -> str:
    return "yes" if met else "no"


def _seconds(median: float, slowest: float) -> str:
    return f"{median / 1e3:.2f} s / {slowest / 1e3:.2f} s"


def text(results: Results) -> str:
    """For a terminal: columns aligned."""
    parts = []
    for table in tables(results):
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
    for table in tables(results):
        lines = [table.heads, ["---"] * len(table.heads), *table.rows]
        parts.append(f"### {table.title}\n\n" + "\n".join(f"| {' | '.join(line)} |" for line in lines))
    return "\n\n".join(parts)
