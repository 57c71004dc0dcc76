"""`pman config`: every setting and where it comes from, or which engine honours what."""

from __future__ import annotations

from collections.abc import Sequence

import click
from rich.markup import escape

from pman import executors
from pman.cli import terminal
from pman.cli.environment import load_settings
from pman.cli.group import command, format_option
from pman.settings import DECLARED, Settings
from pman.translation.honoured import Row, rows


@command("pman config", "pman config --matrix")
@click.option("--matrix", is_flag=True, help="Which engine honours which option, read from the templates.")
@format_option("table", "json", "markdown", description="markdown is for --matrix.")
def config(matrix: bool, form: str) -> None:
    """Show every setting, its value and its meaning.

    And where each came from: environment, .env or default. Secrets are masked. --matrix shows
    which engine honours which field of a request and which setting.
    """
    if matrix:
        print_matrix(rows(load_settings()["PMAN_TEMPLATES"], executors.names()), form)
    elif form == "markdown":
        raise click.UsageError("--format markdown goes with --matrix")
    else:
        print_settings(load_settings(), form)


def print_settings(settings: Settings, form: str) -> None:
    value = {
        name: {
            "value": settings.shown(name) if declared.get("x-secret") else settings[name],
            "source": settings.sources[name],
            "meaning": declared["description"],
        }
        for name, declared in DECLARED.items()
    }
    table = terminal.plain_table("setting", "value", "from", "meaning")
    for name, declared in DECLARED.items():
        source = settings.sources[name]
        colour = "dim" if source == "default" else "bold"
        table.add_row(
            f"[{colour}]{name}[/]",
            escape(settings.shown(name)),
            escape(source) if settings[name] is not None else "[dim]unset[/]",
            f"[dim]{escape(declared['description'])}[/]",
        )
    terminal.show(form, value, [table])


def print_matrix(rows: Sequence[Row], form: str) -> None:
    if form == "markdown":
        click.echo(markdown(rows), nl=False)
        return
    value = {row.option: {"part": row.part, "honoured": row.honoured, "limits": row.limits} for row in rows}
    engines = list(rows[0].honoured)
    table = terminal.plain_table("option", *engines, "meaning")
    for row, following in zip(rows, [*rows[1:], None], strict=True):
        marks = (mark(row, engine) for engine in engines)
        table.add_row(row.option, *marks, f"[dim]{escape(row.meaning)}[/]")
        if following and following.part != row.part:
            table.add_section()
    limits = [
        f"[dim]* {row.option} on {engine}: {escape(text)}[/]"
        for row in rows
        for engine, text in row.limits.items()
    ]
    terminal.show(form, value, [table, *limits])


def markdown(table: Sequence[Row]) -> str:
    """For the docs: one table for requests, one for settings, the engines' own limits below each."""
    parts = []
    for title, part in (("Fields of a request", "request"), ("Settings", "settings")):
        chosen = [row for row in table if row.part == part]
        engines = list(chosen[0].honoured)
        lines = [
            f"### {title}",
            "",
            f"| | {' | '.join(engines)} | meaning |",
            f"|---|{':-:|' * len(engines)}---|",
        ]
        for row in chosen:
            marks = " | ".join(mark(row, engine) for engine in engines)
            lines.append(f"| `{row.option}` | {marks} | {row.meaning.replace('|', chr(92) + '|')} |")
        notes = [
            f"- `{row.option}` on {engine}: {row.limits[engine]}" for row in chosen for engine in row.limits
        ]
        parts.append("\n".join([*lines, *(["", "\\* with limits:", "", *notes] if notes else [])]))
    return "\n\n".join(parts) + "\n"


def mark(row: Row, engine: str) -> str:
    if not row.honoured[engine]:
        return "–"
    return "✓*" if engine in row.limits else "✓"
