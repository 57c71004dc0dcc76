"""Whether what a site overrides is still what it was made from.

A block that calls `super()` takes what is shipped as it changes, and one in place of an empty block has
nothing to lose: neither needs a record (pman.workshop.record) of what it was made from.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from pman.translation.inventory.inventory import BUILTIN, EngineTemplates, TemplateFile
from pman.translation.inventory.record import Record, base, records, without_records
from pman.translation.sources import digest, uses_super, writes


@dataclass(frozen=True, slots=True)
class Override:
    """A block, or a file as a whole, in the place of a shipped one."""

    name: str
    """Of the site's file, e.g. `docker/container.yaml.j2`."""

    path: Path
    line: int
    block: str
    """'': the file as a whole."""

    template: str
    """The shipped one in whose place it stands."""

    site: str
    """Its own text: a block's body, or a file without the comment that says what it was made from."""

    shipped: str | None
    """The text that is shipped now; None where it is no more."""

    recorded: Record | None
    base: str | None
    """The text that it was made from, where that is kept."""

    @property
    def drifted(self) -> bool:
        return self.recorded is not None and (
            self.shipped is None or digest(self.shipped) != self.recorded.digest
        )


def overrides(inventory: Sequence[EngineTemplates]) -> tuple[Override, ...]:
    """All of a site's that stand in the place of something shipped, and do not follow it by themselves."""
    return tuple(
        override
        for engine in inventory
        for file in engine.files
        if not (file.shipped or file.overridden_by or file.fault)
        for override in _overrides(file, engine.files)
    )


def unrecorded(inventory: Sequence[EngineTemplates]) -> tuple[Override, ...]:
    """Those that do not say what they were made from, so that a change of it will not be seen."""
    return tuple(override for override in overrides(inventory) if override.recorded is None)


def changed(inventory: Sequence[EngineTemplates]) -> tuple[Override, ...]:
    """Those in whose place something else, or nothing, is shipped now."""
    return tuple(override for override in overrides(inventory) if override.drifted)


def _overrides(file: TemplateFile, files: Sequence[TemplateFile]) -> Iterator[Override]:
    recorded = {record.block: record for record in records(file.text)}
    shipped = next((other for other in files if other.shipped and other.name == file.name), None)
    standing_in = shipped is not None and shipped.path not in file.ancestors
    if shipped and standing_in:
        name = f"{BUILTIN}{file.name}"
        yield _override(file, 1, "", name, without_records(file.text), shipped.text, recorded.get(""))
    elsewhere = {block.name for block in shipped.blocks} if shipped and standing_in else set()
    for block in file.blocks:
        below, made = block.overrides, recorded.get(block.name)
        if block.name in elsewhere or uses_super(block.source):
            continue
        if made and (below is None or below.shipped):
            name, text = (below.written_in, below.body) if below else (made.template, None)
            yield _override(file, block.line, block.name, name, block.body, text, made)
        elif below and below.shipped and writes(below.body):
            yield _override(file, block.line, block.name, below.written_in, block.body, below.body, None)


def _override(
    file: TemplateFile,
    line: int,
    block: str,
    template: str,
    site: str,
    shipped: str | None,
    made: Record | None,
) -> Override:
    return Override(
        name=file.name,
        path=file.path,
        line=line,
        block=block,
        template=template,
        site=site,
        shipped=shipped,
        recorded=made,
        base=base(file.path, made) if made else None,
    )
