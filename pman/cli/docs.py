"""`pman templates docs`: a template's blocks and variables, as a table, as JSON, or for a site's own docs."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence

import click
from rich.console import RenderableType
from rich.markup import escape

from pman.cli import terminal
from pman.cli.environment import site_directories
from pman.cli.group import command, format_option
from pman.translation.inventory.docs import TemplateDocs, Variable
from pman.translation.inventory.docs import docs as documentation


@command(
    "pman templates docs kubernetes/job.yaml.j2",
    "pman templates docs slurm/job.sh.j2 --format markdown > blocks.md",
)
@click.argument("name")
@format_option("table", "json", "markdown")
def docs(name: str, form: str) -> None:
    """Show a template's blocks, and the variables it is given.

    With type, unit and example of each, and which of them each block reads.
    """
    template = documentation(name, site_directories())
    if form == "markdown":
        click.echo(markdown(template), nl=False)
    else:
        terminal.show(form, template, _tables(template))


def _tables(template: TemplateDocs) -> Iterator[RenderableType]:
    yield f"[bold]{escape(template.name)}[/]\n{escape(template.doc)}\n"
    if template.blocks:
        table = terminal.plain_table("block", "what it is for", "reads", "overridden by")
        for block in template.blocks:
            by = terminal.path(block.overridden_by) if block.overridden_by else ""
            table.add_row(block.name, escape(block.doc), escape(" ".join(block.reads)), escape(by))
        yield table
        yield ""
    if template.variables:
        table = terminal.plain_table("variable", "type", "unit", "example", "what it is")
        for variable in template.variables:
            colour = "bold" if variable.read_in else "default"
            name, kind, unit, example, what = map(escape, _cells(variable))
            table.add_row(f"[{colour}]{name}[/]", kind, unit, example, f"[dim]{what}[/]")
        yield table


def _cells(variable: Variable) -> tuple[str, str, str, str, str]:
    example = "" if variable.example is None else json.dumps(variable.example, ensure_ascii=False)
    return variable.name, variable.type, variable.unit, example, variable.description


def markdown(template: TemplateDocs) -> str:
    """For a site's own documentation: what the document is, its blocks, its variables."""
    parts = [f"## {template.name}\n\n{template.doc}\n"]
    if template.blocks:
        rows = [
            (f"`{block.name}`", block.doc, ", ".join(f"`{word}`" for word in block.reads))
            for block in template.blocks
        ]
        parts.append(_table(("block", "what it is for", "reads"), rows))
    if template.variables:
        parts.append(variables_table(template.variables))
    return "\n".join(parts)


def variables_table(variables: Sequence[Variable]) -> str:
    rows = []
    for variable in variables:
        name, kind, unit, example, what = _cells(variable)
        rows.append((f"`{name}`", kind, unit, f"`{example}`" if example else "", what))
    return _table(("variable", "type", "unit", "example", "what it is"), rows)


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *([cell.replace("|", "\\|") for cell in row] for row in rows)]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)
