"""Requests that the shipped templates honour and a site's do not: pman refuses such a job."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence, Set
from functools import cache

from pman.translation.render import Templates, loader
from pman.translation.request import PROPERTIES
from pman.workshop.drift import Override
from pman.workshop.lint.documents import unread
from pman.workshop.lint.findings import Finding
from pman.workshop.samples import samples


def of_engine(fields: Set[str], engine: str, overrides: Sequence[Override]) -> Iterator[Finding]:
    """Reports each field, at the block in whose place it was read. `fields`: those the site does not read."""
    lost: dict[tuple[str, str, int], list[str]] = {}
    for field in sorted(fields - _unread_by_shipped(engine)) if fields else ():
        declared = PROPERTIES[field]
        # There are requests that do not ask for it, such as one without a limit.
        can_be_left_out = "x-unset" in declared or declared.get("type") == "array"
        rule = "field-dropped" if can_be_left_out else "no-job-runs"
        lost.setdefault((rule, *_place(field, overrides)), []).append(field)
    for (rule, file, line), names in lost.items():
        refused = "every request" if rule == "no-job-runs" else "a request that asks for it"
        yield Finding(rule, f"nothing reads {', '.join(names)} any more: {refused} is refused", file, line)


@cache
def _unread_by_shipped(engine: str) -> frozenset[str]:
    shipped = Templates(engine, loader([]))
    return frozenset().union(
        *(unread(sample, shipped.render(*sample.variables()).read) for sample in samples(engine))
    )


def _place(field: str, overrides: Sequence[Override]) -> tuple[str, int]:
    """The site's block, or file, that stands in the place of what reads the field."""
    variable = re.compile("|".join(map(re.escape, PROPERTIES[field]["x-reaches"])))
    for override in overrides:
        if variable.search(override.shipped or "") and not variable.search(override.site):
            return str(override.path), override.line
    return "", 0
