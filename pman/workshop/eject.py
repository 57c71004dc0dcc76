"""Copy what is shipped for a site to edit: blocks, in a file that extends the shipped one, or all of it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from textwrap import indent

from pman.errors import ConfigError, Fault
from pman.suggest import one_of
from pman.translation.inventory import record
from pman.translation.inventory.inventory import find
from pman.translation.overrides import RULES
from pman.translation.render import loader
from pman.translation.sources import BUILTIN, Source, Span, lineage, parsed
from pman.translation.statefile import read


def eject(name: str, blocks: Sequence[str], to: Path) -> Mapping[Path, str]:
    """Makes what a site's directory `to` needs to have a shipped template, or blocks of it, as its own.

    Returns the texts to write: the site's file first, then beside it the shipped text that it was made from.
    It renders the same as before, until it is edited. A file that is there is added to, never
    overwritten. Raises ConfigError for what is not shipped, and for what is there already.
    """
    shipped = find(f"{BUILTIN}{name.removeprefix(BUILTIN)}", [])
    path = to / shipped.name
    if path.name == RULES:
        return _rules(shipped.name, blocks, path)
    if not blocks:
        _refuse_existing(path, "name a --block to add it")
        now = record.now(f"{BUILTIN}{shipped.name}", "", shipped.text)
        text = record.comment(path.name, now) + shipped.text
        return {path: text, record.beside(path): shipped.text}
    spans = list(_spans(shipped.name, list(dict.fromkeys(blocks))))
    text = _extended(path, shipped.name, blocks)
    bodies = {span.name: span.body for _, span in spans}
    sections = "".join(f"\n{_section(source, span, path)}" for source, span in spans)
    return {path: text + sections, record.beside(path): record.with_blocks(path, bodies)}


def _refuse_existing(path: Path, advice: str) -> None:
    if path.exists():
        raise ConfigError(f"{path} is there already, and is not overwritten; {advice}")


def _spans(name: str, blocks: Sequence[str]) -> Iterator[tuple[Source, Span]]:
    """Finds each block in the nearest of the shipped templates that has it. Raises ConfigError."""
    ancestors = lineage(loader(), f"{BUILTIN}{name}")
    shipped = {span.name: (source, span) for source in reversed(ancestors) for span in source.blocks}
    for block in blocks:
        if block not in shipped:
            raise ConfigError(f"there is no block {block} in {BUILTIN}{name}; {one_of(block, list(shipped))}")
        yield shipped[block]


def _extended(path: Path, name: str, blocks: Sequence[str]) -> str:
    """The site's file so far, to be added to. Raises ConfigError where it cannot be."""
    if not path.exists():
        return f'{{% extends "{BUILTIN}{name}" %}}\n'
    text = path.read_text("utf-8")
    source = parsed(name, path, text)
    if source.extends is None:
        raise ConfigError(
            f"{path} extends nothing, so it has all that it renders already; "
            f'begin it with {{% extends "{BUILTIN}{name}" %}}, or edit it there'
        )
    there = [Fault(name, f"the block {block} is there already", str(path), span.line)
             for block in blocks if (span := source.block(block))]  # fmt: skip
    if there:
        raise ConfigError.of(there, "nothing was written: edits are not overwritten")
    return text.rstrip("\n") + "\n"


def _section(source: Source, span: Span, path: Path) -> str:
    now = record.now(source.name, span.name, span.body)
    flush = re.sub(r"\n[ \t]+(\{% endblock)", r"\n\1", span.text)  # blanks there are not rendered
    return f"{record.comment(path.name, now)}{flush}\n"


def _rules(name: str, blocks: Sequence[str], path: Path) -> Mapping[Path, str]:
    if blocks:
        raise ConfigError(f"{name} has rules and no blocks: leave --block out")
    _refuse_existing(path, "add your rules to it")
    engine = name.partition("/")[0]
    text = (
        f"# Rules of this site for {engine}, tried before the shipped ones: the first that holds decides.\n"
        f"# `pman explain NATIVE.json --engine {engine}` shows what they make of a state.\n"
        f"extends: {BUILTIN}{name}\n\n"
        f"# One of the shipped ones, for an example:\n{indent(_example(name), '# ', lambda _: True)}"
    )
    return {path: text}


def _example(name: str) -> str:
    """The first rule of a shipped file, as it is written."""
    first, following = read(loader(), f"{BUILTIN}{name}").rules()[:2]
    lines = Path(first.file).read_text("utf-8").splitlines()[first.line - 1 :]
    end = following.line - first.line if following.file == first.file else 3
    return "rules:\n" + "\n".join(lines[:end]).rstrip() + "\n"
