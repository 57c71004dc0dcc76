"""The comment at the top of a template: what the document is, and what each block is for.

{# Body of POST /containers/create, Docker Engine API 1.41; one container a job.
   Blocks:
     image: what the container is made from
     command: what runs in it, in place of
       the image's own
   Variables: job (schema/request.json), site (schema/settings.json). #}
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from textwrap import dedent

from pman.translation.inventory.record import records
from pman.translation.sources import Source

_BLOCK = re.compile(r"^ {5}(\w+): (.+)$")
_MORE = re.compile(r"^ {7,}(\S.*)$")


@dataclass(frozen=True, slots=True)
class Header:
    text: str
    """The text about the document as a whole."""

    blocks: dict[str, str]


def header(source: Source) -> Header:
    """Reads the first comment that is not a record (record.py); empty where a template has none."""
    first = next((comment for comment in source.comments if not any(records(comment))), None)
    if first is None:
        return Header("", {})
    text, separator, after = first.partition("\n   Blocks:\n")
    blocks: dict[str, str] = {}
    name, lines = "", after.split("\n") if separator else []
    while lines:
        if match := _BLOCK.match(lines[0].rstrip()):
            name = match[1]
            blocks[name] = match[2]
        elif name and (more := _MORE.match(lines[0].rstrip())):
            blocks[name] += f" {more[1]}"
        else:
            break
        lines.pop(0)
    return Header(dedent(f"   {text.strip()}\n" + "\n".join(lines)).strip(), blocks)
