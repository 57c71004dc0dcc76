"""`pman lint`: what was found, in a form for a person or for CI, and the exit code that goes with it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click

from pman.workshop.lint.findings import Finding
from pman.workshop.lint.formats import FORMATS
from pman.workshop.lint.run import Report, lint


def run(directories: Sequence[Path], form: str, *, kubernetes: str, strict: bool, notes: bool) -> int:
    """Prints what was found; 1 where there is an error, or with `strict` a warning. Raises ConfigError."""
    report = lint([directory.absolute() for directory in directories], kubernetes=kubernetes)
    shown = [finding for finding in report.findings if notes or finding.level != "note"]
    click.echo(FORMATS[form](shown), nl=False)
    click.echo(f"pman: {told(report, shown)}", err=True)
    return int(report.count("error") > 0 or (strict and report.count("warning") > 0))


def told(report: Report, shown: Sequence[Finding]) -> str:
    """One line for all."""
    looked = f"{', '.join(report.engines) or 'no engine'}; {report.samples} samples"
    counts = [_count(report.count(level), level) for level in ("error", "warning") if report.count(level)]
    hidden = report.count("note") if not any(finding.level == "note" for finding in shown) else 0
    more = f"; {_count(hidden, 'note')} (--notes shows)" if hidden else ""
    return f"{', '.join(counts) or 'nothing found'} in {looked}{more}"


def _count(number: int, word: str) -> str:
    return f"{number} {word}{'' if number == 1 else 's'}"
