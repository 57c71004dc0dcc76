"""Runtime attributes that do not arrive: what the server's configuration does not declare, Cromwell drops."""

from __future__ import annotations

import contextlib
import logging
import re

from pman.errors import EngineUnreachable
from pman.executors.cromwell.server import Metadata, Server, last_call

log = logging.getLogger(__name__)

AWAITED = 1000
"""Workflows of which it is still to be seen which attributes arrived."""

_COMMAND = re.compile(r"<<<.*?>>>", re.DOTALL)
_RUNTIME = re.compile(r"^\s*runtime\s*\{\n(.*?)^\s*\}", re.DOTALL | re.MULTILINE)
_NAME = re.compile(r"^\s*([A-Za-z]\w*)\s*:", re.MULTILINE)


class Attributes:
    """Tells in the log, once, of each that a job of this pman was sent with and begun without."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._settled: set[str] = set()
        """Names of which it is known whether they arrive."""

        self._sent: dict[str, frozenset[str]] = {}
        """By workflow, where one of them is not settled."""

    def sent(self, workflow: str, document: str) -> None:
        names = names_in(document)
        if not names <= self._settled:
            self._sent[workflow] = names
            if len(self._sent) > AWAITED:
                del self._sent[next(iter(self._sent))]

    async def compare(self, workflow: str, metadata: Metadata) -> None:
        """One more request for the first jobs that begin, and none after these."""
        if workflow not in self._sent or not last_call(metadata).get("jobId"):
            return
        names = self._sent.pop(workflow) - self._settled
        arrived: frozenset[str] = frozenset()
        if names:
            with contextlib.suppress(EngineUnreachable):
                arrived = await self._server.attributes(workflow)
        if not arrived:
            return
        self._settled |= names
        if dropped := sorted(names - arrived):
            log.warning(
                "Cromwell drops %s, which the jobs are sent with: its configuration does not declare them as "
                "runtime-attributes, and so no job gets what they ask for; compare it with deploy/cromwell",
                ", ".join(dropped),
            )


def names_in(document: str) -> frozenset[str]:
    """Of the runtime section of a WDL document, as the shipped template writes it: a line each."""
    section = _RUNTIME.search(_COMMAND.sub("", document))
    return frozenset(_NAME.findall(section[1])) if section else frozenset()
