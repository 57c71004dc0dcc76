"""What the shipped templates honour of a request, and a site's do not any more: pman refuses such a job."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from pman.errors import ConfigError
from pman.settings import engine_schema, properties
from pman.translation.inventory import inventory
from pman.translation.render import Templates, loader
from pman.translation.request import PROPERTIES
from pman.translation.variables import unread_fields
from pman.workshop import drift
from pman.workshop.lint.findings import Finding
from pman.workshop.samples import samples


def of_engine(own: Templates, engine: str, directories: Sequence[Path]) -> Iterator[Finding]:
    """At the block in whose place the field was read. `own`: templates that render every sample."""
    shipped = Templates(engine, loader([]), list(properties(engine_schema(engine, "documents"))))
    lost: dict[tuple[str, str, int], list[str]] = {}
    for field in sorted(_unread(own, engine) - _unread(shipped, engine)):
        rule = "field-dropped" if _can_be_left_out(field) else "no-job-runs"
        lost.setdefault((rule, *_place(field, engine, directories)), []).append(field)
    for (rule, file, line), fields in lost.items():
        refused = "every request" if rule == "no-job-runs" else "a request that asks for it"
        yield Finding(rule, f"nothing reads {', '.join(fields)} any more: {refused} is refused", file, line)


def _unread(templates: Templates, engine: str) -> set[str]:
    """The fields that a sample has and the templates do not read."""
    found = set()
    for sample in samples(engine):
        job, site = sample.variables()
        found |= {
            fault.path.removeprefix("$.") for fault in unread_fields(job, templates.render(job, site).read)
        }
    return found


def _can_be_left_out(field: str) -> bool:
    """Whether there are requests that do not ask for it, such as one without a limit."""
    return "x-unset" in PROPERTIES[field] or PROPERTIES[field].get("type") == "array"


def _place(field: str, engine: str, directories: Sequence[Path]) -> tuple[str, int]:
    """The site's block, or file, that stands in the place of what reads the field."""
    try:
        taken = [one for one in inventory.engines(directories) if one.engine == engine]
        overrides = drift.overrides(taken)
    except ConfigError:
        return "", 0
    variable = re.compile("|".join(map(re.escape, PROPERTIES[field]["x-reaches"])))
    for override in overrides:
        if variable.search(override.shipped or "") and not variable.search(override.site):
            return str(override.path), override.line
    return "", 0
