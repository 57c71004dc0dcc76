"""`pman templates list`, `show` and `eject`: what is shipped, what is the site's, and how to change it."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import click
from rich.markup import escape
from rich.table import Table as RichTable

from pman.cli import terminal
from pman.cli.environment import named_directories, note, site_directories
from pman.cli.group import Commands, Table, command, example, format_option
from pman.errors import ConfigError
from pman.suggest import one_of
from pman.translation.inventory.answer import answer
from pman.translation.inventory.blocks import Block
from pman.translation.inventory.inventory import EngineTemplates, TemplateFile, engines, find
from pman.translation.overrides import RULES
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


@command("pman templates list", "PMAN_TEMPLATES=site pman templates list")
@click.option("--engine", help="Of this engine only.")
@format_option("table", "json")
def list_templates(engine: str | None, form: str) -> None:
    """List each engine's templates, blocks and rules.

    A block with a star is overridden, and by which file is said beside it. Ends with 1 when there is
    a file that cannot be read, which is listed with what is wrong.
    """
    inventory = engines(site_directories())
    names = [one.engine for one in inventory]
    if engine and engine not in names:
        raise ConfigError(f"there are no templates for {engine}; {one_of(engine, names)}")
    chosen = [one for one in inventory if engine in (None, one.engine)]
    terminal.show(form, answer(chosen), [_table(chosen)])
    sys.exit(int(any(one.faults for one in chosen)))


@command("pman templates show kubernetes/job.yaml.j2", "pman templates show builtin/docker/state.yaml | less")
@click.argument("name")
def show(name: str) -> None:
    """Print a template or state.yaml, as it is found: the site's own, else the shipped one.

    builtin/... is always the shipped one.
    """
    file = find(name, site_directories())
    if sys.stdout.isatty():
        click.echo(f"{file.path}\n", err=True)
        terminal.highlighted(file.text, file.name)
    else:
        click.echo(file.text, nl=False)


@command(
    "pman templates eject docker/container.yaml.j2 --block resources --to site",
    "pman templates eject kubernetes/job.yaml.j2 --block tolerations --block gpu",
    "pman templates eject slurm/state.yaml",
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
    site_dirs = named_directories()
    directory = to or next(iter(site_dirs), None)
    if directory is None:
        raise ConfigError(
            "where to? name the site's directory of templates by --to DIR, or in PMAN_TEMPLATES"
        )
    files = ejected(name, blocks, directory)
    write(files)
    if directory.resolve() not in [site.resolve() for site in site_dirs]:
        note(f"it is used with PMAN_TEMPLATES={directory}")
    if len(files) > 1:
        note("keep both in the site's repository; `pman templates check` compares them")


def _table(inventory: Sequence[EngineTemplates]) -> RichTable:
    table = terminal.plain_table("template", "from", "what is in it")
    for one in inventory:
        for file in one.files:
            origin = "[dim]shipped[/]" if file.shipped else f"[bold]{escape(terminal.path(file.path))}[/]"
            table.add_row(escape(file.name), origin, _contents(one, file))
        table.add_section()
    return table


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
        by = file.overridden_by
        return text if rules or not by else f"[yellow]replaced by {escape(terminal.path(by))}[/]"
    blocks = (*file.blocks, *file.inherited)
    words = [_word(block) for block in (blocks if file.shipped else file.blocks)]
    if not file.shipped:
        what = f"extends {file.extends}" if file.extends else "stands in for the shipped one"
        what = what if file.extends or file.overrides else "a document more"
        return escape(f"{what}: ") + " ".join(words) if words else escape(what)
    replaced = {block.overridden_by for block in blocks if block.overridden_by}
    by = "".join(f" [yellow]← {escape(terminal.path(path))}[/]" for path in sorted(replaced))
    return " ".join(words) + by


def _word(block: Block) -> str:
    return f"[yellow]{block.name}*[/]" if block.overridden_by else block.name


def write(files: Mapping[Path, str]) -> None:
    """Writes the files, then says which."""
    for path, text in files.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, "utf-8")
    for path in files:
        click.echo(terminal.path(path))
