"""How the commands show things: coloured tables on a terminal, whole lines in a pipe, JSON where asked."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterable
from dataclasses import asdict, is_dataclass
from pathlib import Path
from typing import IO, Any, cast

import click
from pygments.lexer import DelegatingLexer
from pygments.lexers import get_lexer_by_name
from pygments.lexers.templates import DjangoLexer
from rich.console import Console, RenderableType
from rich.markup import escape
from rich.syntax import Syntax
from rich.table import Table

from pman.resources import shipped_name

MARKS = {"ok": "[green]✔[/]", "failed": "[red]✘[/]", "skipped": "[yellow]–[/]", "warning": "[yellow]![/]"}
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
    """Colours by the ending of a file's name; a template `*.j2` is Jinja in the language before that."""
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


def path(file: str | Path) -> str:
    """A file as a person would name it who stands here."""
    if name := shipped_name(file):
        return f"templates/{name}"
    file = Path(file)
    return str(file.relative_to(Path.cwd())) if file.is_relative_to(Path.cwd()) else str(file)


def plain_table(*columns: str) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    for name in columns:
        table.add_column(name, overflow="fold")
    return table


def show(form: str, value: Any, lines: Iterable[RenderableType]) -> None:
    """Prints an answer: as JSON if that is the form, else the lines and tables that a person reads."""
    if form == "json":
        print_json(value)
        return
    out = console()
    for line in lines:
        out.print(line)


def print_json(value: Any) -> None:
    """Prints JSON; a dataclass is an object of its fields, and what JSON does not have is text."""
    click.echo(json.dumps(value, indent=2, ensure_ascii=False, default=_plain))


def _plain(value: Any) -> Any:
    return asdict(value) if is_dataclass(value) and not isinstance(value, type) else str(value)
