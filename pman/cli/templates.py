"""`pman templates`: what is shipped and what is the site's, shown as a table, as JSON, or to the letter."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click
from dotenv import dotenv_values
from rich.markup import escape

from pman import __version__
from pman.cli import terminal
from pman.errors import ConfigError
from pman.resources import TEMPLATES
from pman.settings import listed
from pman.suggest import one_of
from pman.translation.inventory.answer import answer
from pman.translation.inventory.docs import TemplateDocs, Variable
from pman.translation.inventory.docs import docs as documentation
from pman.translation.inventory.inventory import Block, EngineTemplates, TemplateFile, engines, find
from pman.translation.inventory.record import beside
from pman.translation.overrides import RULES
from pman.workshop import drift
from pman.workshop.drift import Override
from pman.workshop.eject import Ejected
from pman.workshop.eject import eject as ejected
from pman.workshop.threeway import near_changes, three_way


def directories(environ: Mapping[str, str], dotenv: Path) -> list[Path]:
    """Those of PMAN_TEMPLATES, whatever the other settings are. Raises ConfigError for a missing one."""
    found = named(environ, dotenv)
    for directory in found:
        if not directory.is_dir():
            raise ConfigError(f"PMAN_TEMPLATES={str(directory)!r}: no such directory")
    return found


def named(environ: Mapping[str, str], dotenv: Path) -> list[Path]:
    """As `directories`, there or not."""
    text = setting("PMAN_TEMPLATES", environ, dotenv)
    return [Path(directory) for directory in listed("PMAN_TEMPLATES", text)]


def setting(name: str, environ: Mapping[str, str], dotenv: Path) -> str:
    """One setting as it is written, '' where it is not."""
    file = dotenv_values(dotenv) if dotenv.is_file() else {}
    return environ.get(name) or file.get(name) or ""


def show_list(site_dirs: Sequence[Path], engine: str | None, form: str) -> bool:
    """Whether all that is listed can be read."""
    found = engines(site_dirs)
    known = [one.engine for one in found]
    if engine and engine not in known:
        raise ConfigError(f"there are no templates for {engine}; {one_of(engine, known)}")
    chosen = [one for one in found if engine in (None, one.engine)]
    if form == "json":
        click.echo(_json(answer(chosen)))
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
    return f"[bold]{escape(shown(file.path))}[/]"


def _contents(engine: EngineTemplates, file: TemplateFile) -> str:
    if file.fault:
        return f"[red]cannot be read: {escape(str(file.fault))}[/]"
    if file.overridden_by and not file.shipped:
        return f"[yellow]not used: {escape(shown(file.overridden_by))} is found first[/]"
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
    by = "".join(f" [yellow]← {escape(shown(path))}[/]" for path in sorted(filter(None, replaced)))
    return " ".join(words) + by


def _replaced(path: str) -> str:
    return f"[yellow]replaced by {escape(shown(path))}[/]"


def _word(block: Block) -> str:
    return f"[yellow]{block.name}*[/]" if block.overridden_by else block.name


def shown(path: str | Path) -> str:
    """As a person would name it who stands here."""
    path = Path(path)
    if path.is_relative_to(TEMPLATES):
        return f"templates/{path.relative_to(TEMPLATES)}"
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else str(path)


def show_source(name: str, site_dirs: Sequence[Path]) -> None:
    """To the letter in a pipe; highlighted on a terminal, with its path."""
    file = find(name, site_dirs)
    if not sys.stdout.isatty():
        click.echo(file.text, nl=False)
        return
    click.echo(f"{file.path}\n", err=True)
    terminal.highlighted(file.text, file.name)


def eject(name: str, blocks: Sequence[str], to: Path | None, site_dirs: Sequence[Path]) -> None:
    directory = to or next(iter(site_dirs), None)
    if directory is None:
        raise ConfigError(
            "where to? name the site's directory of templates by --to DIR, or in PMAN_TEMPLATES"
        )
    found = ejected(name, blocks, directory)
    write(found.files)
    for path in found.files:
        click.echo(shown(path))
    _say_what_next(found, directory, site_dirs)


def write(files: Mapping[Path, str]) -> None:
    for path, text in files.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, "utf-8")


def _say_what_next(found: Ejected, directory: Path, site_dirs: Sequence[Path]) -> None:
    if directory.resolve() not in [site.resolve() for site in site_dirs]:
        click.echo(f"pman: it is used with PMAN_TEMPLATES={directory}", err=True)
    if len(found.files) > 1:
        click.echo("pman: keep both in the site's repository; `pman templates check` compares them", err=True)


def show_docs(name: str, site_dirs: Sequence[Path], form: str) -> None:
    found = documentation(name, site_dirs)
    if form == "json":
        click.echo(_json({**asdict(found), "path": str(found.path)}))
    elif form == "markdown":
        click.echo(markdown(found), nl=False)
    else:
        _print_docs(found)


def _print_docs(found: TemplateDocs) -> None:
    out = terminal.console()
    out.print(f"[bold]{escape(found.name)}[/]\n{escape(found.doc)}\n")
    if found.blocks:
        table = terminal.plain_table("block", "what it is for", "reads", "overridden by")
        for block in found.blocks:
            by = shown(block.overridden_by) if block.overridden_by else ""
            table.add_row(block.name, escape(block.doc), escape(" ".join(block.reads)), escape(by))
        out.print(table)
        out.print()
    if found.variables:
        table = terminal.plain_table("variable", "type", "unit", "example", "what it is")
        for variable in found.variables:
            colour = "bold" if variable.read_in else "default"
            name, kind, unit, example, what = map(escape, _cells(variable))
            table.add_row(f"[{colour}]{name}[/]", kind, unit, example, f"[dim]{what}[/]")
        out.print(table)


def _cells(variable: Variable) -> tuple[str, str, str, str, str]:
    example = "" if variable.example is None else json.dumps(variable.example, ensure_ascii=False)
    return variable.name, variable.type, variable.unit, example, variable.description


def markdown(found: TemplateDocs) -> str:
    """For a site's own documentation: what the document is, its blocks, its variables."""
    parts = [f"## {found.name}\n\n{found.doc}\n"]
    if found.blocks:
        rows = [(f"`{block.name}`", block.doc, _code(block.reads)) for block in found.blocks]
        parts.append(_table(("block", "what it is for", "reads"), rows))
    if found.variables:
        parts.append(variables_table(found.variables))
    return "\n".join(parts)


def variables_table(variables: Sequence[Variable]) -> str:
    rows = []
    for variable in variables:
        name, kind, unit, example, what = _cells(variable)
        rows.append((f"`{name}`", kind, unit, f"`{example}`" if example else "", what))
    return _table(("variable", "type", "unit", "example", "what it is"), rows)


def _code(words: Sequence[str]) -> str:
    return ", ".join(f"`{word}`" for word in words)


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *([cell.replace("|", "\\|") for cell in row] for row in rows)]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def check(names: Sequence[str], site_dirs: Sequence[Path], form: str) -> bool:
    """Shows what is shipped otherwise than when the site's overrides were made; whether there is any."""
    found = _chosen(names, site_dirs)
    if form == "json":
        click.echo(_json([_override(override) for override in found]))
    else:
        for line in _report(found):
            terminal.console().print(line)
    return any(override.drifted for override in found)


def accepted(names: Sequence[str], site_dirs: Sequence[Path]) -> None:
    """Records what is shipped now, for all that has drifted and all that has no record."""
    chosen = [override for override in _chosen(names, site_dirs) if override.drifted or not override.recorded]
    files = drift.accepted(chosen)
    write(files)
    for path in files:
        click.echo(shown(path))


def _chosen(names: Sequence[str], site_dirs: Sequence[Path]) -> list[Override]:
    for name in names:
        find(name, site_dirs)
    inventory = engines(site_dirs)
    if faults := [fault for engine in inventory for fault in engine.faults]:
        raise ConfigError.of(faults)
    found = drift.overrides(inventory)
    return [override for override in found if not names or override.name in names]


def _report(found: Sequence[Override]) -> Iterator[str]:
    for override in found:
        at = f"[bold]{escape(shown(override.path))}:{override.line}[/]"
        if override.recorded is None:
            yield f"{at}: {_what(override)} does not say which {override.template} it was made from"
        elif override.drifted:
            made = f"{_what(override)} was made from that of pman {override.recorded.version}"
            yield f"{at}: {made}; {_news(override)}"
            yield from _changes(override)
    drifted = sum(override.drifted for override in found)
    silent = sum(override.recorded is None for override in found)
    number = f"{len(found)} override{'' if len(found) == 1 else 's'}"
    yield f"{number}: {drifted or 'none'} drifted, {silent or 'none'} without a record"
    if drifted or silent:
        yield "[dim]`pman templates check --accept` records what is shipped now, once you have looked[/]"


def _what(override: Override) -> str:
    return f"the block {override.block}" if override.block else "the file"


def _news(override: Override) -> str:
    if override.shipped is None:
        return f"pman {__version__} has no such block, and nothing renders this one"
    return f"pman {__version__} ships another one"


def _changes(override: Override) -> Iterator[str]:
    """What both have changed of the shipped text of then; without that, how the two differ now."""
    if override.shipped is None:
        return
    if override.base is None:
        yield f"  [dim]the text of then is not kept in {escape(shown(beside(override.path)))}[/]"
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


def _override(override: Override) -> Mapping[str, Any]:
    return {
        "name": override.name,
        "path": str(override.path),
        "line": override.line,
        "block": override.block or None,
        "template": override.template,
        "recorded": asdict(override.recorded) if override.recorded else None,
        "drifted": override.drifted,
        "base": override.base,
        "shipped": override.shipped,
        "site": override.site,
    }


def _json(value: Any) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False)
