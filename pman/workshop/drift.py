"""Says whether what a site overrides is still what it was made from, and records it anew once accepted.

A block that calls `super()` takes what is shipped as it changes, and one in place of an empty block has
nothing to lose: neither needs a record (pman.translation.inventory.record) of what it was made from.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import groupby
from pathlib import Path

from pman.errors import ConfigError, Fault
from pman.translation.inventory import record
from pman.translation.inventory.inventory import EngineTemplates, TemplateFile
from pman.translation.inventory.record import Record
from pman.translation.sources import BUILTIN, digest, uses_super, writes


@dataclass(frozen=True, slots=True)
class Override:
    """A block, or a file as a whole, in the place of a shipped one."""

    name: str
    """The name of the site's file, e.g. `docker/container.yaml.j2`."""

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

    @property
    def base(self) -> str | None:
        """The text that it was made from, where that is kept."""
        return record.base(self.path, self.recorded) if self.recorded else None

    @property
    def drifted(self) -> bool:
        return self.recorded is not None and (
            self.shipped is None or digest(self.shipped) != self.recorded.digest
        )


def overrides(inventory: Sequence[EngineTemplates]) -> tuple[Override, ...]:
    """Lists what stands in the place of something shipped, and does not follow it by itself."""
    return tuple(
        override
        for engine in inventory
        for file in engine.files
        if not (file.shipped or file.overridden_by or file.fault)
        for override in _overrides(file, engine.files)
    )


def accepted(overrides: Sequence[Override]) -> Mapping[Path, str]:
    """Makes what to write: each site's file with new records, and beside it the shipped text.

    The rest of a file stays as it is. Raises ConfigError for a block that is shipped no more.
    """
    files: dict[Path, str] = {}
    for path, group in groupby(overrides, lambda override: override.path):
        text, bodies = path.read_text("utf-8"), {}
        for override in sorted(group, key=lambda override: override.line, reverse=True):  # lines above stay
            if override.shipped is None:
                message = f"the block {override.block} is shipped no more: nothing is rendered of this one"
                raise ConfigError.of([Fault(override.name, message, str(path), override.line)])
            text = _with_record(text, override, override.shipped)
            bodies[override.block] = override.shipped
        files[path] = text
        files[record.beside(path)] = bodies[""] if "" in bodies else record.with_blocks(path, bodies)
    return files


def _with_record(text: str, override: Override, shipped: str) -> str:
    """A file's text that says that the override was made from what is shipped now."""
    now = record.now(override.template, override.block, shipped)
    if override.recorded:
        return text.replace(str(override.recorded), str(now))
    lines = text.split("\n")
    lines.insert(override.line - 1, record.comment(override.path.name, now).rstrip("\n"))
    return "\n".join(lines)


def _overrides(file: TemplateFile, files: Sequence[TemplateFile]) -> Iterator[Override]:
    records = {made_from.block: made_from for made_from in record.records(file.text)}
    shipped = next((other for other in files if other.shipped and other.name == file.name), None)
    replaced = shipped if shipped and shipped.path not in file.ancestors else None
    if replaced:
        name, site = f"{BUILTIN}{file.name}", record.without_records(file.text)
        yield Override(file.name, file.path, 1, "", name, site, replaced.text, records.get(""))
    elsewhere = {block.name for block in replaced.blocks} if replaced else set()
    for block in file.blocks:
        below, recorded = block.overrides, records.get(block.name)
        if block.name in elsewhere or uses_super(block.source):
            continue
        override = partial(Override, file.name, file.path, block.line, block.name)
        if recorded and (below is None or below.shipped):
            name, text = (below.written_in, below.body) if below else (recorded.template, None)
            yield override(name, block.body, text, recorded)
        elif below and below.shipped and writes(below.body):
            yield override(below.written_in, block.body, below.body, None)
