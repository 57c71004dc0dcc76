"""`pman templates check`: the overrides of a site of which pman ships another text now."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path

import click
from rich.markup import escape

from pman import __version__
from pman.cli import terminal
from pman.cli.environment import site_directories
from pman.cli.group import command, format_option
from pman.cli.templates import write
from pman.errors import ConfigError
from pman.translation.inventory.inventory import engines, find
from pman.translation.inventory.record import beside
from pman.workshop import drift
from pman.workshop.drift import Override
from pman.workshop.threeway import near_changes, three_way


@command("pman templates check", "pman templates check --accept")
@click.argument("names", nargs=-1, metavar="[NAME]...")
@click.option("--accept", is_flag=True, help="Record that what is shipped now has been looked at.")
@format_option("text", "json")
def check(names: tuple[str, ...], accept: bool, form: str) -> None:
    """Find what is shipped otherwise than when the site's own was made from it.

    After an upgrade: for each block that the site overrides, what pman has changed since, and what
    the site has changed, side by side. Ends with 1 when there is any, else with 0.
    """
    chosen = _chosen(names, site_directories())
    if accept:
        write(drift.accepted([one for one in chosen if one.drifted or not one.recorded]))
        return
    answer = [
        {**asdict(one), "block": one.block or None, "drifted": one.drifted, "base": one.base}
        for one in chosen
    ]
    terminal.show(form, answer, _report(chosen))
    sys.exit(int(any(override.drifted for override in chosen)))


def _chosen(names: Sequence[str], site_dirs: Sequence[Path]) -> list[Override]:
    for name in names:
        find(name, site_dirs)
    inventory = engines(site_dirs)
    if faults := [fault for engine in inventory for fault in engine.faults]:
        raise ConfigError.of(faults)
    overrides = drift.overrides(inventory)
    return [override for override in overrides if not names or override.name in names]


def _report(overrides: Sequence[Override]) -> Iterator[str]:
    for override in overrides:
        at = f"[bold]{escape(terminal.path(override.path))}:{override.line}[/]"
        if override.recorded is None:
            yield f"{at}: {_what(override)} does not say which {override.template} it was made from"
        elif override.drifted:
            source = f"{_what(override)} was made from that of pman {override.recorded.version}"
            gone = override.shipped is None
            news = "has no such block, and nothing renders this one" if gone else "ships another one"
            yield f"{at}: {source}; pman {__version__} {news}"
            yield from _changes(override)
    drifted = sum(override.drifted for override in overrides)
    silent = sum(override.recorded is None for override in overrides)
    number = f"{len(overrides)} override{'' if len(overrides) == 1 else 's'}"
    yield f"{number}: {drifted or 'none'} drifted, {silent or 'none'} without a record"
    if drifted or silent:
        yield "[dim]`pman templates check --accept` records what is shipped now, once you have looked[/]"


def _what(override: Override) -> str:
    return f"the block {override.block}" if override.block else "the file"


def _changes(override: Override) -> Iterator[str]:
    """Shows what both have changed of the shipped text of then; without that, how the two differ now."""
    if override.shipped is None:
        return
    if override.base is None:
        yield f"  [dim]the text of then is not kept in {escape(terminal.path(beside(override.path)))}[/]"
        yield "  [dim]- shipped now    + the site's[/]"
    else:
        yield "  [dim]first column: what pman has changed since; second: what the site has changed[/]"
    base = override.shipped if override.base is None else override.base
    for line in near_changes(three_way(base, override.shipped, override.site)):
        if line is None:
            yield "  [dim]…[/]"
        else:
            marks = line.theirs if override.base is None else line.ours + line.theirs
            colour = "green" if "+" in marks else "red" if "-" in marks else "default"
            yield f"  [{colour}]{escape(f'{marks} {line.text}')}[/]"
