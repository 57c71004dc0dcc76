"""Sees to it that a job is given the directories that it names, and not what another job puts in their place.

Only jobs write below the directories that pfcon makes. So a directory is exchanged for a link either before,
and the link is there to be seen, or by a job that may write above it and runs meanwhile. Each container says
by its labels, from its creation on, which directories it has; who is about to start one looks

1. whether a job that has not ended may write above these directories, or a job that is not started yet has
   directories below what this one may write to: then it is not started;
2. whether they are directories, and no link is on the way.

Nobody exchanges anything after the first look: a job that could do so is created later, sees this one, and
is not started. This holds on every release, and for links within the storebase, which sub-paths follow.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Self

from pman.errors import EngineRefused
from pman.executors.docker.api import Api
from pman.executors.docker.bodies import PODMAN
from pman.executors.docker.lens import Lens
from pman.executors.docker.mounted import Identities, identities
from pman.executors.docker.storebase import Storebase
from pman.executors.shared.directories import fault, is_visible
from pman.job import INCOMING, INCOMING_LABEL, JID_LABEL, OUTGOING, OUTGOING_LABEL

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Directories:
    """A job's, by their paths on the engine's host."""

    jid: str
    incoming: str
    outgoing: str

    @classmethod
    def of(cls, labels: Mapping[str, str] | None) -> Self | None:
        """None where they do not say: pman before 7.1, or a site's own template."""
        labels = labels or {}
        names = (JID_LABEL, INCOMING_LABEL, OUTGOING_LABEL)
        return cls(*(labels[name] for name in names)) if labels.keys() >= {*names} else None

    def may_exchange(self, other: Directories) -> bool:
        """Tells whether the job may write to a directory that is above one of the other's."""
        return any(path.startswith(f"{self.outgoing}/") for path in (other.incoming, other.outgoing))


class Guard:
    def __init__(self, api: Api, storebase: Storebase, *, by_path: bool = False) -> None:
        """`by_path`: how the engine mounts; then what it has mounted is compared, if that is to be seen."""
        self._storebase = storebase.path.rstrip("/")
        self._lens = Lens(api, storebase)
        self._compares = by_path and os.geteuid() == 0
        self._looks_twice = by_path and api.bodies is PODMAN

    async def check(self, own: Directories, container: str = "") -> Identities | None:
        """Return what they are, where it is to be compared with what is mounted.

        `container`: the id of the one that is to be started with them.
        Raises EngineRefused where one of them is no directory of the storebase, or behind a link.
        """
        root = f"{self._storebase}/"
        paths = (own.incoming, own.outgoing)
        if not all(path.startswith(root) for path in paths):
            log.warning("%s is of a pman with another storebase, which this one does not look into", own.jid)
            return None
        below = [path.removeprefix(root) for path in paths]
        is_seen = is_visible(self._storebase)
        message = await (asyncio.to_thread(self._fault, below) if is_seen else self._lens.fault(below))
        if not message and container and not is_seen and self._looks_twice:
            places = dict(zip(below, (INCOMING, OUTGOING), strict=True))
            message = await self._lens.elsewhere(container, places)
        if message:
            raise EngineRefused("mount", 400, message)
        try:
            return identities(paths) if is_seen and self._compares else None
        except OSError as error:
            raise EngineRefused("mount", 400, f"a directory of the job is gone: {error}") from error

    def _fault(self, directories: Sequence[str]) -> str:
        return next(filter(None, (fault(self._storebase, each) for each in directories)), "")


def rivals(own: Directories, others: Iterable[tuple[Directories | None, bool]]) -> Iterator[Directories]:
    """The jobs of `others`, each with whether it runs, that must have ended or begun before this one."""
    for other, runs in others:
        if (
            other
            and other.jid != own.jid
            and (other.may_exchange(own) or (not runs and own.may_exchange(other)))
        ):
            yield other


def refusal(own: Directories, rival: Directories) -> EngineRefused:
    """The refusal of a job for the sake of another one."""
    above, below = (rival, own) if rival.may_exchange(own) else (own, rival)
    return EngineRefused(
        "mount",
        409,
        f"the job {above.jid} may write to {above.outgoing}, and {below.jid} has a directory below it",
    )
