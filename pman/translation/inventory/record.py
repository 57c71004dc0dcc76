"""Records what a site's template was made from: a comment in it, and beside it the shipped text of that time.

The comment names the shipped template, the block, pman's version and the digest of the text:

    {# pman: made from builtin/docker/container.yaml.j2, block shm, of pman 7.0.0, sha256 1b2c3d4e5f607182 #}

The text itself is in `container.yaml.j2.base` beside `container.yaml.j2`: plain, to be kept in the site's
repository, and lost without harm: a change is still seen by the digest, but not shown.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from pman import __version__
from pman.errors import ConfigError
from pman.translation.sources import Span, digest, parsed

_RECORD = re.compile(
    r"pman: made from (?P<template>\S+?)(?:, block (?P<block>\w+))?, "
    r"of pman (?P<version>\S+), sha256 (?P<digest>[0-9a-f]{16})\b"
)
_BASE = "{# What pman shipped when the blocks were made; `pman templates check` compares with it. #}\n"


@dataclass(frozen=True, slots=True)
class Record:
    template: str
    """The shipped one that has the block, e.g. `builtin/docker/container.yaml.j2`."""

    block: str
    """'': the file as a whole."""

    version: str
    digest: str

    def __str__(self) -> str:
        block = f", block {self.block}" if self.block else ""
        return f"pman: made from {self.template}{block}, of pman {self.version}, sha256 {self.digest}"


def now(template: str, block: str, text: str) -> Record:
    """Records what this pman ships: a block's body, or a file."""
    return Record(template, block, __version__, digest(text))


def records(text: str) -> Iterator[Record]:
    """Finds the records of a site's file, in order."""
    for match in _RECORD.finditer(text):
        yield Record(match["template"], match["block"] or "", match["version"], match["digest"])


def comment(name: str, record: Record) -> str:
    """A line of the language of the file."""
    return f"{{# {record} #}}\n" if name.endswith(".j2") else f"# {record}\n"


def without_records(text: str) -> str:
    return "".join(line for line in text.splitlines(keepends=True) if not _RECORD.search(line))


def beside(path: Path) -> Path:
    """Names the file with the shipped text of a site's file. It is no template: nothing reads it but this."""
    return path.with_name(f"{path.name}.base")


def base(path: Path, record: Record) -> str | None:
    """Reads the shipped text that was recorded; None where it is not there, or is another one."""
    bodies = [block.body for block in _blocks(path) if block.name == record.block]
    texts = bodies if record.block else [_text_beside(path)]
    return next((text for text in texts if digest(text) == record.digest), None)


def with_blocks(path: Path, shipped: Mapping[str, str]) -> str:
    """Makes the text to keep beside a file: what is there, and these bodies of blocks by their names."""
    bodies = {block.name: block.body for block in _blocks(path)} | dict(shipped)
    return _BASE + "".join(
        f"\n{{% block {name} %}}{chr(10) if chr(10) in body else ''}{body}{{% endblock %}}\n"
        for name, body in bodies.items()
    )


def _text_beside(path: Path) -> str:
    file = beside(path)
    return file.read_text("utf-8") if file.is_file() else ""


def _blocks(path: Path) -> tuple[Span, ...]:
    """Finds none in a file that somebody has broken."""
    try:
        return parsed(path.name, beside(path), _text_beside(path)).blocks
    except ConfigError:
        return ()
