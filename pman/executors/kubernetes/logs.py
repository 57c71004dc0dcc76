"""The logs of all pods of a Job, undecoded; each line with the pod's name where there are several."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime
from typing import Any

from pman.errors import EngineUnreachable, UnknownJob
from pman.executors.kubernetes.api import PODS, Api, Forbidden, Object
from pman.executors.kubernetes.metadata import name, uid
from pman.executors.kubernetes.reads import Native
from pman.executors.kubernetes.status import (
    end_time,
    has_ended,
    has_started,
    main_container,
    main_container_has_ended,
)
from pman.executors.shared.multiplex import Sources, multiplexed, prefixed

POD_POLL_SECONDS = 0.3
"""Between two looks for pods that start later, while a job is followed; most are answered by the store."""

FOLLOW_GRACE_SECONDS = 10.0
"""For so long a followed log may go on after the Job has ended."""

LOG_RECOVERY_SECONDS = 300.0
"""For so long after the end of a Job a log that its node does not show is an error, to be asked for again:
callers keep their first answer, while a kubelet takes a minute to restart, or the network to it."""

Inspect = Callable[[str], Awaitable[Native]]


class Logs:
    def __init__(self, api: Api, inspect: Inspect) -> None:
        self._api = api
        self._inspect = inspect

    async def last(self, jid: str, tail: int) -> AsyncIterator[bytes]:
        """The logs of the pods in turn, each with its share of `tail` lines; empty for an unknown job."""
        try:
            native = await self._inspect(jid)
        except UnknownJob:
            return
        pods = [pod for pod in native["pods"] if has_started(pod)]
        several = _is_several(native)
        share = -(-tail // max(1, len(pods)))
        recovering = _may_recover(native["job"])
        for pod in pods:
            chunks = self._log(pod, share, follow=False, recovering=recovering)
            async for chunk in prefixed(name(pod), chunks) if several else chunks:
                yield chunk

    def follow(self, jid: str, tail: int) -> AsyncIterator[bytes]:
        """The logs of all pods at once, by line, from the first pod that starts to the end of the Job."""
        return multiplexed(lambda sources: self._feed(sources, jid, tail))

    async def _feed(self, sources: Sources, jid: str, tail: int) -> None:
        ended = False
        while not ended:
            try:
                native = await self._inspect(jid)
            except UnknownJob:
                break
            ended = has_ended(native["job"])
            several = _is_several(native)
            for pod in native["pods"]:
                if has_started(pod) and uid(pod) not in sources:
                    chunks = self._log(pod, tail, follow=True)
                    sources.add(uid(pod), prefixed(name(pod), chunks) if several else chunks)
            if not ended:
                await asyncio.sleep(POD_POLL_SECONDS)
            sources.check()
        await sources.ended(FOLLOW_GRACE_SECONDS)

    async def _log(
        self, pod: Object, tail: int, *, follow: bool, recovering: bool = False
    ) -> AsyncGenerator[bytes]:
        """The log of the main container; empty where there is none (yet, or any more).

        Where the node does not show it, a line says why. `recovering`: raises EngineUnreachable instead.
        """
        query = {"container": main_container(pod), "tailLines": str(tail)}
        query |= {"follow": "1"} if follow else {}
        where = f"{self._api.path(PODS, name(pod))}/log"
        idle_timeout = None if follow else self._api.timeout
        async with self._api.request("GET", where, query, stream=True, idle_timeout=idle_timeout) as response:
            if response.status in (200, 204):  # 204: a pod that no node has
                async for chunk in response.content.iter_any():
                    yield chunk
                return
            answer = self._api.answer(response.status, await response.read())
        is_absent = answer.status in (400, 404)
        if is_absent and not main_container_has_ended(pod):  # "waiting to start", or it never ran
            return
        error = self._api.unexpected("GET", where, answer)
        # The others are the node's, which may be lost for ever, and its jobs have a state.
        if isinstance(error, Forbidden) or answer.status in (401, 429, 503):
            raise error
        if recovering:
            message = f"the log of {name(pod)} cannot be read now: {answer.message}"
            raise EngineUnreachable(message, error.hint)
        if is_absent and follow:  # gone meanwhile
            return
        yield f"pman: the log of {name(pod)} cannot be read: {answer.message}\n".encode()


def _may_recover(job: Object) -> bool:
    """Tell whether the Job ended so lately, by pman's clock, that its node may show the log later."""
    ended = end_time(job)
    if not ended:
        return False
    return (datetime.now(UTC) - datetime.fromisoformat(ended)).total_seconds() < LOG_RECOVERY_SECONDS


def _is_several(native: Native) -> bool:
    """Tell whether there are, or may be, several pods, so that their names tell the lines apart."""
    spec: dict[str, Any] = native["job"]["spec"]
    workers = max(spec.get("completions") or 1, spec.get("parallelism") or 1)
    return workers > 1 or len(native["pods"]) > 1 or bool(spec.get("backoffLimit"))
