"""The ids of a job's workflows: a job's name and a count of its deletions make one, so nobody has to ask.

Cromwell takes the id of a workflow from who submits it (75 or newer) and refuses one that is in use. So of
all pmans that submit a job, at once or again after a crash, one succeeds. An id is used up for ever: a
name that is free again after DELETE goes on with the next generation.
"""

from __future__ import annotations

import uuid

_NAMESPACE = uuid.UUID("8f1c5c5e-3f0a-4d0e-9a53-5b8f6c0f5d1e")
"""The namespace of pman's jobs; with another one pman would lose sight of all of them."""


def workflow_id(jid: str, generation: int) -> str:
    """`generation`: 1, and one more for each time that the name was deleted."""
    return str(uuid.uuid5(_NAMESPACE, f"{jid}#{generation}"))
