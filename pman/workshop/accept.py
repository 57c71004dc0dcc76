"""What is shipped now as what a site's overrides are made from: once their author has looked at it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import groupby
from pathlib import Path

from pman.errors import ConfigError, Fault
from pman.translation.inventory import record
from pman.workshop.drift import Override


def accepted(overrides: Sequence[Override]) -> Mapping[Path, str]:
    """What to write: each site's file with new records, and beside it the shipped text.

    The rest of a file stays as it is. Raises ConfigError for a block that is shipped no more.
    """
    files: dict[Path, str] = {}
    for path, group in groupby(overrides, lambda override: override.path):
        text, bodies = path.read_text("utf-8"), {}
        for override in sorted(group, key=lambda override: override.line, reverse=True):  # lines above stay
            if override.shipped is None:
                told = f"the block {override.block} is shipped no more: nothing is rendered of this one"
                raise ConfigError.of([Fault(override.name, told, str(path), override.line)])
            made = record.now(override.template, override.block, override.shipped)
            if override.recorded:
                text = text.replace(str(override.recorded), str(made))
            else:
                lines = text.split("\n")
                lines.insert(override.line - 1, record.comment(path.name, made).rstrip("\n"))
                text = "\n".join(lines)
            bodies[override.block] = override.shipped
        files[path] = text
        files[record.beside(path)] = bodies[""] if "" in bodies else record.with_blocks(path, bodies)
    return files
