"""The blocks of a template: those that it writes and inherits, and which file's stand in their place.

What each is for says the comment at the top, beside what the document is:

{# Body of POST /containers/create, Docker Engine API 1.41; one container a job.
   Blocks:
     image: what the container is made from
     command: what runs in it, in place of
       the image's own
   Variables: job (schema/request.json), site (schema/settings.json). #}
"""

from __future__ import annotations

import re
from collections import ChainMap
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from textwrap import dedent

from pman.resources import shipped_name
from pman.translation.inventory.record import records
from pman.translation.sources import BUILTIN, Source, body, digest

_BLOCK = re.compile(r"^ {5}(\w+): (.+(?:\n {7,}\S.*)*)", re.MULTILINE)
_BLOCKS = re.compile(rf"\n   Blocks:\n((?:{_BLOCK.pattern}\n?)*)", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Block:
    name: str
    line: int
    doc: str
    """The purpose, by the comment at the top of the shipped template."""

    source: str
    """From `{% block %}` to `{% endblock %}`."""

    digest: str
    """The digest of the body: a site's block that is made from it records this."""

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
    docs = ChainMap(*(header(source).blocks for source in lineage))
    blocks: dict[str, Block] = {}
    for source in reversed(lineage):
        for name, span in {span.name: span for span in reversed(source.blocks)}.items():
            blocks[name] = Block(
                name=name,
                line=span.line,
                doc=docs.get(name, ""),
                source=span.text,
                digest=digest(span.body),
                written_in=_extendable_name(source),
                overridden_by=_overridden(name, lineage[0].path, effective),
                overrides=blocks.get(name),
            )
    return [blocks[name] for name in dict.fromkeys(span.name for source in lineage for span in source.blocks)]


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


@dataclass(frozen=True, slots=True)
class Header:
    text: str
    """The text about the document as a whole."""

    blocks: dict[str, str]


def header(source: Source) -> Header:
    """Reads the first comment that is not a record (record.py); empty where a template has none."""
    comment = next((comment for comment in source.comments if not any(records(comment))), "")
    section = _BLOCKS.search(comment)
    blocks = _BLOCK.findall(section[1]) if section else ()
    text = _BLOCKS.sub("\n", comment).strip()
    return Header(dedent(f"   {text}").strip(), {name: " ".join(doc.split()) for name, doc in blocks})
