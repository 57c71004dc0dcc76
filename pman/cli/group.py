"""Groups of commands, whose modules are imported when one is called: `pman --help` needs none of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any, TypeVar

import click

from pman.errors import BadRequest, ConfigError, PmanError

F = TypeVar("F", bound=Callable[..., Any])

WRONG_REQUEST = (400, 413, 415)
"""Answers of a server for which the caller has to change something: exit code 2, as for wrong usage."""

Table = Mapping[str, tuple[str, str]]
"""Maps a command's name to its module and function, as `run:run`, and the first sentence of its help."""


class Commands(click.Group):
    """A group that knows its commands by a table, in the order of their use."""

    def __init__(self, *args: Any, table: Table, **options: Any) -> None:
        super().__init__(*args, **options)
        self._table = table

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self._table)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in self._table:
            return None
        module, _, name = self._table[cmd_name][0].partition(":")
        command = getattr(import_module(f"pman.cli.{module}"), name)
        return command if isinstance(command, click.Command) else None

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        limit = formatter.width - 6 - max(map(len, self._table))
        rows = [
            (name, click.Command(name, help=text).get_short_help_str(limit))
            for name, (_, text) in self._table.items()
        ]
        with formatter.section("Commands"):
            formatter.write_dl(rows)

    def invoke(self, ctx: click.Context) -> object:
        """Our errors are one line each, not a traceback."""
        try:
            return super().invoke(ctx)
        except PmanError as error:
            print_error(error)
            wrong = isinstance(error, ConfigError | BadRequest) or error.status in WRONG_REQUEST
            ctx.exit(2 if wrong else 1)


def print_error(error: PmanError) -> None:
    """On stderr: each fault on a line of its own, and the hint."""
    for fault in error.faults:
        at = f"{fault.path}: " if fault.path.startswith("$") else ""
        click.echo(f"pman: {at}{fault}", err=True)
    if not error.faults:
        click.echo(f"pman: {error}", err=True)
    if error.hint:
        click.echo(f"pman: {error.hint}", err=True)


def format_option(*choices: str, description: str | None = None) -> Callable[[F], F]:
    """Adds the option --format to a command, as `form`; the first choice is the default."""
    return click.option(
        "--format",
        "form",
        type=click.Choice(choices),
        default=choices[0],
        show_default=True,
        help=description,
    )


def command(*examples: str) -> Callable[[Callable[..., None]], click.Command]:
    """Makes a function a command; the examples stand at the end of its help."""
    return click.command(epilog=example(*examples))


def example(*lines: str) -> str:
    """The end of a command's help."""
    return "\b\nExample:\n" + "\n".join(f"  {line}" for line in lines)
