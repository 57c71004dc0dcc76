"""The blocks of a template: those that it writes and inherits, and which file's stand in their place."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pman.resources import shipped_name
from pman.translation.inventory.header import header
from pman.translation.sources import BUILTIN, Source, body, digest


@dataclass(frozen=True, slots=True)
class Block:
    name: str
    line: int
    doc: str
    """What it is for, by the comment at the top of the shipped template."""

    source: str
    """From `{% block %}` to `{% endblock %}`."""

    digest: str
    """Of what is between the two: what a site's block that is made from it records."""

    written_in: str
    """The name of its template, e.g. `builtin/docker/container.yaml.j2`; `line` is a line of it."""

    overridden_by: str | None
    """Path of the file whose block, or which as a whole, stands in its place."""

    overrides: Block | None
    """The one in whose place it stands, of the nearest template that has it."""

    @property
    def body(self) -> str:
        return body(self.source)

    @property
    def shipped(self) -> bool:
        return self.written_in.startswith(BUILTIN)


def blocks_of(lineage: Sequence[Source], effective: Sequence[Source]) -> list[Block]:
    """Lists the blocks of a template with those that it inherits, a site may override them all.

    `lineage`: the template and what it extends, the nearest first; `effective`: the same for the template
    that is rendered by its name.
    """
    docs = [header(source).blocks for source in lineage]
    names = dict.fromkeys(span.name for source in lineage for span in source.blocks)
    return [
        block
        for name in names
        if (
            block := _block(
                name,
                lineage,
                doc=next((blocks[name] for blocks in docs if name in blocks), ""),
                overridden_by=_overridden(name, lineage[0].path, effective),
            )
        )
    ]


def _block(name: str, lineage: Sequence[Source], *, doc: str, overridden_by: str | None) -> Block | None:
    """Finds the nearest of a name, with those in whose place it stands."""
    for index, source in enumerate(lineage):
        if span := source.block(name):
            return Block(
                name=name,
                line=span.line,
                doc=doc,
                source=span.text,
                digest=digest(span.body),
                written_in=_extendable_name(source),
                overridden_by=overridden_by,
                overrides=_block(name, lineage[index + 1 :], doc=doc, overridden_by=overridden_by),
            )
    return None


def _extendable_name(source: Source) -> str:
    """Names a template so that a site can extend it for certain."""
    shipped = shipped_name(source.path)
    return f"{BUILTIN}{shipped}" if shipped else source.name


def _overridden(block: str, path: Path, effective: Sequence[Source]) -> str | None:
    """Finds the file of those that are rendered, the nearest first, whose block stands in its place."""
    for source in effective:
        if source.path == path:
            return None
        if source.block(block):
            return str(source.path)
    return str(effective[0].path) if effective else None
