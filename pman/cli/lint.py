"""`pman lint`: what was found, in a form for a person or for CI, and the exit code that goes with it."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import click

from pman.cli.environment import dry_settings, site_directories
from pman.cli.group import command, format_option
from pman.errors import ConfigError
from pman.settings import Settings
from pman.workshop import golden as golden_files
from pman.workshop.lint import run
from pman.workshop.lint.findings import Finding
from pman.workshop.lint.formats import FORMATS
from pman.workshop.lint.run import Report


@command("pman lint", "pman lint site --format github", "pman lint site --strict --notes")
@click.argument("directories", nargs=-1, metavar="[DIR]...", type=click.Path(path_type=Path))
@format_option(*FORMATS, description="github: annotations of its Actions; sarif: for code scanning.")
@click.option(
    "--kubernetes-version", "kubernetes", default="1.29", show_default=True, help="Whose API is taken."
)
@click.option(
    "--golden",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Compare what CONTAINER_ENV is sent with these files of `pman render --all`.",
)
@click.option(
    "--samples",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    metavar="DIR",
    help="With --golden: the site's own requests, the *.json of DIR.",
)
@click.option("--strict", is_flag=True, help="Warnings fail, too.")
@click.option("--notes", is_flag=True, help="Show also what is no mistake: what was not tried.")
def lint(
    directories: tuple[Path, ...],
    form: str,
    kubernetes: str,
    golden: Path | None,
    samples: Path | None,
    strict: bool,
    notes: bool,
) -> None:
    """Find mistakes in templates and rules, with file and line.

    DIR: a site's directories, over the shipped templates; default: those of PMAN_TEMPLATES, else the
    shipped ones. Nothing is sent, and no engine is needed: sample requests reach every branch, the
    documents are held against the engine's own API, and rules are tried on recorded states. Ends with
    1 where an error was found. docs/lint.md has every rule.
    """
    if samples and not golden:
        raise click.UsageError("--samples goes with --golden")
    chosen = directories or site_directories()
    settings = dry_settings(None, chosen) if golden else None
    report = run.lint([directory.absolute() for directory in chosen], kubernetes=kubernetes)
    if golden and settings:
        report = replace(report, findings=(*report.findings, *_differences(golden, samples, settings)))
    shown = [finding for finding in report.findings if notes or finding.level != "note"]
    click.echo(FORMATS[form](shown), nl=False)
    click.echo(f"pman: {summary(report, shown)}", err=True)
    sys.exit(int(report.count("error") > 0 or (strict and report.count("warning") > 0)))


def _differences(directory: Path, samples: Path | None, settings: Settings) -> Iterator[Finding]:
    """Compares golden files; `samples`: the site's own requests, None: pman's samples."""
    if not directory.is_dir():
        raise ConfigError(f"{directory}: no such directory")
    requests = golden_files.requests(samples, settings.engine)
    try:
        files = golden_files.files(golden_files.previews(requests, settings))
    except ConfigError as error:
        yield Finding("golden-differs", f"nothing can be compared: {error}", str(directory))
        return
    hint = f"pman render --all {directory} writes what is rendered now"
    for mismatch in golden_files.compare(directory, files):
        file = str((directory / mismatch.file).absolute())
        yield Finding("golden-differs", mismatch.message, file, mismatch.line, hint)


def summary(report: Report, shown: Sequence[Finding]) -> str:
    """One line for all."""
    looked = f"{', '.join(report.engines) or 'no engine'}; {report.samples} samples"
    counts = [_count(report.count(level), level) for level in ("error", "warning") if report.count(level)]
    hidden = report.count("note") if not any(finding.level == "note" for finding in shown) else 0
    more = f"; {_count(hidden, 'note')} (--notes shows)" if hidden else ""
    return f"{', '.join(counts) or 'nothing found'} in {looked}{more}"


def _count(number: int, word: str) -> str:
    return f"{number} {word}{'' if number == 1 else 's'}"
