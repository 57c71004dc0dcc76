"""How the commands show things: coloured tables on a terminal, whole lines in a pipe, JSON where asked."""

# ruff: noqa: PLC0415  (`pman ps` does without what `pman config` imports)
from __future__ import annotations

import json
import re
import sys
from collections.abc import Sequence
from typing import IO, TYPE_CHECKING, Any, cast

import click
from pygments.lexer import DelegatingLexer
from pygments.lexers import get_lexer_by_name
from pygments.lexers.templates import DjangoLexer
from rich.console import Console
from rich.markup import escape
from rich.syntax import Syntax
from rich.table import Table

if TYPE_CHECKING:
    from pman.cli.check import Check
    from pman.cli.client import Answer
    from pman.settings import Settings
    from pman.translation.honoured import Row

MARKS = {"ok": "[green]✔[/]", "failed": "[red]✘[/]", "skipped": "[yellow]–[/]"}
COLOURS = {
    "notstarted": "yellow",
    "started": "blue",
    "finishedSuccessfully": "green",
    "finishedWithError": "red",
    "undefined": "magenta",
}
WIDE = 10_000
"""Columns of a pipe: a line that another program reads is not cut."""


class _Piped:
    """Standard output without the blanks that a table ends its lines with."""

    def write(self, text: str) -> None:
        sys.stdout.write(re.sub(r" +(?=\n|$)", "", text))

    def flush(self) -> None:
        sys.stdout.flush()


def console() -> Console:
    terminal = Console(highlight=False)
    if terminal.is_terminal:
        return terminal
    return Console(highlight=False, width=WIDE, file=cast(IO[str], _Piped()))


def syntax(text: str, name: str) -> Syntax:
    """As the ending of a file's name tells; of a template `*.j2`, Jinja in the language before that."""
    language = get_lexer_by_name(Syntax.guess_lexer(name.removesuffix(".j2")), stripnl=False)
    return Syntax(
        text.rstrip("\n"),
        DelegatingLexer(type(language), DjangoLexer) if name.endswith(".j2") else language,
        theme="ansi_dark",
        background_color="default",
        word_wrap=True,
    )


def highlighted(text: str, name: str) -> None:
    console().print(syntax(text, name))


def coloured(status: str) -> str:
    return f"[{COLOURS.get(status, 'default')}]{escape(status)}[/]"


def print_check(check: Check) -> None:
    out = console()
    grid = Table.grid(padding=(0, 1))
    grid.add_column(width=1)
    grid.add_column(width=9)
    grid.add_column(width=7)
    grid.add_column()
    grid.add_row(MARKS[check.outcome], check.subject, check.outcome, escape(check.told))
    if check.advice and check.outcome != "ok":
        grid.add_row("", "", "", f"[bold]→[/] {escape(check.advice)}")
    out.print(grid)


def print_settings(settings: Settings, form: str) -> None:
    from pman.settings import DECLARED

    if form == "json":
        _print_json(
            {
                name: {
                    "value": settings.shown(name) if declared.get("x-secret") else settings[name],
                    "source": settings.sources[name],
                    "meaning": declared["description"],
                }
                for name, declared in DECLARED.items()
            }
        )
        return
    table = plain_table("setting", "value", "from", "meaning")
    for name, declared in DECLARED.items():
        source = settings.sources[name]
        colour = "dim" if source == "default" else "bold"
        table.add_row(
            f"[{colour}]{name}[/]",
            escape(settings.shown(name)),
            escape(source) if settings[name] is not None else "[dim]unset[/]",
            f"[dim]{escape(declared['description'])}[/]",
        )
    console().print(table)


def print_matrix(rows: Sequence[Row], form: str) -> None:
    from pman.cli.matrix import mark, markdown

    if form == "markdown":
        click.echo(markdown(rows), nl=False)
        return
    if form == "json":
        _print_json(
            {row.option: {"part": row.part, "honoured": row.honoured, "limits": row.limits} for row in rows}
        )
        return
    engines = list(rows[0].honoured)
    table = plain_table("option", *engines, "meaning")
    for row, following in zip(rows, [*rows[1:], None], strict=True):
        marks = (mark(row, engine) for engine in engines)
        table.add_row(row.option, *marks, f"[dim]{escape(row.meaning)}[/]")
        if following and following.part != row.part:
            table.add_section()
    out = console()
    out.print(table)
    for row in rows:
        for engine, text in row.limits.items():
            out.print(f"[dim]* {row.option} on {engine}: {escape(text)}[/]")


def print_jobs(jobs: Sequence[Answer], form: str) -> None:
    if form == "json":
        _print_json(list(jobs))
        return
    table = plain_table("jid", "status", "since", "image", "message")
    for column in table.columns[:3]:
        column.no_wrap = True
    for job in sorted(jobs, key=lambda job: str(job["timestamp"]), reverse=True):
        since = str(job["timestamp"])[:19].replace("T", " ")
        row = (job["jid"], job["status"], since, job["image"], job["message"])
        table.add_row(*(coloured(text) if text == job["status"] else escape(text) for text in row))
    console().print(table)


def print_job(job: Answer, form: str) -> None:
    shown = {name: value for name, value in job.items() if name != "logs"}
    if form == "json":
        _print_json(shown)
        return
    grid = Table.grid(padding=(0, 2))
    for name, value in shown.items():
        grid.add_row(
            f"[dim]{name}[/]",
            coloured(value) if name == "status" else escape("" if value is None else str(value)),
        )
    console().print(grid)


def plain_table(*columns: str) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    for name in columns:
        table.add_column(name, overflow="fold")
    return table


def _print_json(value: Any) -> None:
    click.echo(json.dumps(value, indent=2, ensure_ascii=False))
