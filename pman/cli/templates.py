"""`pman templates list`, `show` and `eject`: what is shipped, what is the site's, and how to change it."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import click
from rich.markup import escape

from pman.cli import terminal
from pman.cli.environment import named_directories, site_directories
from pman.cli.group import Commands, Table, example
from pman.errors import ConfigError
from pman.suggest import one_of
from pman.translation.inventory.answer import answer
from pman.translation.inventory.blocks import Block
from pman.translation.inventory.inventory import EngineTemplates, TemplateFile, engines, find
from pman.translation.overrides import RULES
from pman.workshop.eject import Ejected
from pman.workshop.eject import eject as ejected

COMMANDS: Table = {
    "list": ("templates:list_templates", "List each engine's templates, blocks and rules."),
    "show": (
        "templates:show",
        "Print a template or state.yaml, as it is found: the site's own, else the shipped one.",
    ),
    "eject": ("templates:eject", "Write a file of your own that renders the same, to be edited."),
    "docs": ("docs:docs", "Show a template's blocks, and the variables it is given."),
    "check": ("drift:check", "Find what is shipped otherwise than when the site's own was made from it."),
}


@click.group(
    cls=Commands,
    table=COMMANDS,
    epilog=example(
        "pman templates list", "pman templates eject swarm/service.yaml.j2 --block limits --to site"
    ),
)
def templates() -> None:
    """Look at the templates, and make some your own.

    The shipped ones, and those of the directories in PMAN_TEMPLATES.
    """


@click.command(epilog=example("pman templates list", "PMAN_TEMPLATES=site pman templates list"))
@click.option("--engine", help="Of this engine only.")
@click.option("--format", "form", type=click.Choice(["table", "json"]), default="table", show_default=True)
def list_templates(engine: str | None, form: str) -> None:
    """List each engine's templates, blocks and rules.

    A block with a star is overridden, and by which file is said beside it. Ends with 1 when there is
    a file that cannot be read, which is listed with what is wrong.
    """
    if not show_list(site_directories(), engine, form):
        sys.exit(1)


@click.command(
    epilog=example(
        "pman templates show kubernetes/job.yaml.j2", "pman templates show builtin/docker/state.yaml | less"
    )
)
@click.argument("name")
def show(name: str) -> None:
    """Print a template or state.yaml, as it is found: the site's own, else the shipped one.

    builtin/... is always the shipped one.
    """
    show_source(name, site_directories())


@click.command(
    epilog=example(
        "pman templates eject docker/container.yaml.j2 --block resources --to site",
        "pman templates eject kubernetes/job.yaml.j2 --block tolerations --block gpu",
        "pman templates eject slurm/state.yaml",
    )
)
@click.argument("name")
@click.option("--block", "blocks", multiple=True, metavar="BLOCK", help="Only this one; may be repeated.")
@click.option(
    "--to",
    type=click.Path(file_okay=False, path_type=Path),
    metavar="DIR",
    help="The site's directory of templates; default: the first of PMAN_TEMPLATES.",
)
def eject(name: str, blocks: tuple[str, ...], to: Path | None) -> None:
    """Write a file of your own that renders the same, to be edited.

    With --block, it extends the shipped template and has the body of these blocks; a file that is
    there is added to, and nothing in it is overwritten. Without, it is a copy of the whole template.
    A state.yaml extends the shipped rules. What was shipped is kept beside it, in *.base, for
    `pman templates check`.
    """
    _eject(name, blocks, to, named_directories())


def show_list(site_dirs: Sequence[Path], engine: str | None, form: str) -> bool:
    """Print the list; says whether all that is listed can be read."""
    inventory = engines(site_dirs)
    names = [one.engine for one in inventory]
    if engine and engine not in names:
        raise ConfigError(f"there are no templates for {engine}; {one_of(engine, names)}")
    chosen = [one for one in inventory if engine in (None, one.engine)]
    if form == "json":
        terminal.print_json(answer(chosen))
        return not any(one.faults for one in chosen)
    table = terminal.plain_table("template", "from", "what is in it")
    for one in chosen:
        for file in one.files:
            table.add_row(escape(file.name), _origin(file), _contents(one, file))
        table.add_section()
    terminal.console().print(table)
    return not any(one.faults for one in chosen)


def _origin(file: TemplateFile) -> str:
    if file.shipped:
        return "[dim]shipped[/]"
    return f"[bold]{escape(terminal.path(file.path))}[/]"


def _contents(engine: EngineTemplates, file: TemplateFile) -> str:
    if file.fault:
        return f"[red]cannot be read: {escape(str(file.fault))}[/]"
    if file.overridden_by and not file.shipped:
        return f"[yellow]not used: {escape(terminal.path(file.overridden_by))} is found first[/]"
    if file.path.name == RULES:
        rules = sum(rule.file == str(file.path) for rule in engine.rules)
        text = f"{rules} rule{'' if rules == 1 else 's'}"
        if file.extends:
            return f"{text} before those of {escape(file.extends)}"
        return text if rules or not file.overridden_by else _replaced(file.overridden_by)
    words = [
        _word(block) for block in (*file.blocks, *file.inherited) if file.shipped or block in file.blocks
    ]
    if not file.shipped:
        what = f"extends {file.extends}" if file.extends else "stands in for the shipped one"
        what = what if file.extends or file.overrides else "a document more"
        return escape(f"{what}: ") + " ".join(words) if words else escape(what)
    replaced = {block.overridden_by for block in (*file.blocks, *file.inherited)} - {None}
    by = "".join(f" [yellow]← {escape(terminal.path(path))}[/]" for path in sorted(filter(None, replaced)))
    return " ".join(words) + by


def _replaced(path: str) -> str:
    return f"[yellow]replaced by {escape(terminal.path(path))}[/]"


def _word(block: Block) -> str:
    return f"[yellow]{block.name}*[/]" if block.overridden_by else block.name


def show_source(name: str, site_dirs: Sequence[Path]) -> None:
    """To the letter in a pipe; highlighted on a terminal, with its path."""
    file = find(name, site_dirs)
    if not sys.stdout.isatty():
        click.echo(file.text, nl=False)
        return
    click.echo(f"{file.path}\n", err=True)
    terminal.highlighted(file.text, file.name)


def _eject(name: str, blocks: Sequence[str], to: Path | None, site_dirs: Sequence[Path]) -> None:
    directory = to or next(iter(site_dirs), None)
    if directory is None:
        raise ConfigError(
            "where to? name the site's directory of templates by --to DIR, or in PMAN_TEMPLATES"
        )
    ejection = ejected(name, blocks, directory)
    write(ejection.files)
    for path in ejection.files:
        click.echo(terminal.path(path))
    _say_what_next(ejection, directory, site_dirs)


def write(files: Mapping[Path, str]) -> None:
    for path, text in files.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, "utf-8")


def _say_what_next(ejection: Ejected, directory: Path, site_dirs: Sequence[Path]) -> None:
    if directory.resolve() not in [site.resolve() for site in site_dirs]:
        click.echo(f"pman: it is used with PMAN_TEMPLATES={directory}", err=True)
    if len(ejection.files) > 1:
        click.echo("pman: keep both in the site's repository; `pman templates check` compares them", err=True)
