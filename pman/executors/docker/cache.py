"""What the engine said of containers, for as long as its events do not tell otherwise.

Events only make it forget; what was forgotten is asked for when somebody wants to know. So a lost,
late or repeated event costs a question, or the truth for no longer than `TRUSTED`, and nothing that
is told here was put together from events.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import time
from collections import OrderedDict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from email.utils import parsedate_to_datetime

from pman.errors import ConnectionCut, EngineUnreachable
from pman.executors.docker.api import Api, words
from pman.job import JID_LABEL

log = logging.getLogger(__name__)

TRUSTED = 60.0
"""Seconds after which an inspection is asked for again: Docker drops events without a word where a
reader is slow (20.10: 1,191 unread ones)."""

SILENCE = 5.0
"""Seconds in which the event of a container that was created here must come. Podman reads the file
or journal that has its events four times a second."""

AGAIN, SELDOM = 0.5, 30.0
"""Seconds between two attempts to have the events: the first, and the longest."""

REVISIONS = 100_000
"""Jobs of which the revision is known, some 300 bytes each."""

BYTES = 16 * 2**20
"""Of inspections, some 5 kB each."""

_LABEL = JID_LABEL.encode()


@dataclass(slots=True, eq=False)
class Ask:
    """A question to the engine that is not answered yet."""

    jid: str
    began: float
    stream: object
    answer: bytes = b""

    def keep(self, answer: bytes) -> None:
        """Once the question is over, and unless something happened to the job since it began."""
        self.answer = answer


class Memory:
    def __init__(self, api: Api, *, limit: int = BYTES, revisions: int = REVISIONS) -> None:
        self._api = api
        self._limit = limit
        self._most = revisions
        self._stream: object = None
        """Stands for the connection on which events come; None where none do."""

        self._watching: asyncio.Task[None] | None = None
        self._reading: asyncio.Task[None] | None = None
        self._asks: dict[str, list[Ask]] = {}
        self._known: dict[str, tuple[int, float]] = {}
        """Of each job the revision and when it was asked for, oldest first."""

        self._bodies: OrderedDict[str, bytes] = OrderedDict()
        """Of some of them the inspection, last used last."""

        self._size = 0
        self._owed: dict[str, float] = {}
        """Jobs whose creation the engine has yet to tell, and by when it must."""

        self._silent = False
        """Whether it has not; then its first event has to show that there are any."""

        self._warned = False

    # --- what is known -------------------------------------------------------------------------

    def age(self, jid: str) -> float | None:
        """Seconds since the engine was asked, where what it said then still holds; else None."""
        known = self._known.get(jid)
        if known is None or self._stream is None:
            return None
        now = time.monotonic()
        if self._owed and now > min(self._owed.values()):
            self._silent = True
            self._doubt("of a container that was created here no event came")
            return None
        age = now - known[1]
        return age if age < TRUSTED else None

    def revision(self, jid: str) -> int | None:
        """Another one whenever the inspection is another one; None where that is not known."""
        return None if self.age(jid) is None else self._known[jid][0]

    def inspection(self, jid: str) -> bytes | None:
        body = self._bodies.get(jid)
        if body is None or (age := self.age(jid)) is None:
            return None
        self._bodies.move_to_end(jid)
        log.debug("%s from memory, %.1f s old", jid, age)
        return body

    # --- what fills it, and what empties it ----------------------------------------------------

    @contextlib.contextmanager
    def asking(self, jid: str) -> Iterator[Ask]:
        """While the engine is asked for an inspection."""
        self._begin()
        ask = Ask(jid, time.monotonic(), self._stream)
        self._asks.setdefault(jid, []).append(ask)
        try:
            yield ask
        except ConnectionCut as error:  # the events' connection may be as dead, and not know it
            self._doubt(str(error))
            raise
        finally:
            valid = ask in self._asks.get(jid, ())
            if valid:
                self._asks[jid].remove(ask)
                if not self._asks[jid]:
                    del self._asks[jid]
        if valid and ask.answer and ask.stream is self._stream is not None:
            self._remember(ask)

    def forget(self, jid: str) -> None:
        """Something happened to it, or is about to."""
        self._asks.pop(jid, None)
        self._drop(jid)

    @contextlib.contextmanager
    def creating(self, jid: str) -> Iterator[None]:
        """While the engine is asked to create a container.

        Where its events come, it must tell of this one soon, or it tells of nothing.
        """
        self._begin()
        if self._stream is not None:
            self._owed[jid] = float("inf")
        try:
            yield
        except BaseException:
            self._owed.pop(jid, None)
            raise
        finally:
            self.forget(jid)
        if jid in self._owed:
            self._owed[jid] = time.monotonic() + SILENCE

    async def close(self) -> None:
        if self._watching:
            self._watching.cancel()
            await asyncio.gather(self._watching, return_exceptions=True)

    def _begin(self) -> None:
        """To listen, with the first call that needs it: there may be no event loop before."""
        if self._watching is None:
            self._watching = asyncio.create_task(self._watch())

    def _remember(self, ask: Ask) -> None:
        self.forget(ask.jid)
        self._known[ask.jid] = hash(ask.answer), ask.began
        self._bodies[ask.jid] = ask.answer
        self._size += len(ask.answer)
        while self._size > self._limit:
            self._size -= len(self._bodies.popitem(last=False)[1])
        while len(self._known) > self._most or next(iter(self._known.values()))[1] < ask.began - TRUSTED:
            self._drop(next(iter(self._known)))  # what is asked at this moment is none the older

    def _drop(self, jid: str) -> None:
        self._known.pop(jid, None)
        self._size -= len(self._bodies.pop(jid, b""))

    def _forget_all(self) -> None:
        self._stream = None
        for kept in (self._asks, self._known, self._bodies, self._owed):
            kept.clear()
        self._size = 0

    def _doubt(self, why: str) -> None:
        if self._stream is not None and self._reading:
            self._warn(why)
            self._forget_all()
            self._reading.cancel()

    def _warn(self, why: str) -> None:
        level = logging.DEBUG if self._warned else logging.WARNING
        self._warned = True
        log.log(level, "polls ask %s for now, since its events do not come: %s", self._api.kind, why)

    # --- the engine's events -------------------------------------------------------------------

    async def _watch(self) -> None:
        """For ever; while there are no events, nothing is known."""
        pause = AGAIN
        try:
            while True:
                began = time.monotonic()
                self._reading = asyncio.create_task(self._read())
                await asyncio.wait({self._reading})
                if not self._reading.cancelled():
                    error = self._reading.exception()
                    self._warn(str(error) if isinstance(error, EngineUnreachable) else repr(error))
                self._forget_all()
                pause = AGAIN if time.monotonic() - began > SELDOM else min(2 * pause, SELDOM)
                await asyncio.sleep(pause)
        finally:
            if self._reading:
                self._reading.cancel()
                await asyncio.gather(self._reading, return_exceptions=True)

    async def _read(self) -> None:
        """Mark what events tell of; nothing here waits for anything but them."""
        async with self._api.request("GET", "/_ping") as response:
            date = response.headers.get("Date")
        # By the engine's clock, and a second back, since it answers before it listens to its own
        # events (dockerd 20.10). No filter by label: Podman 4.3 wants the value, too.
        now = parsedate_to_datetime(date).timestamp() if date else time.time()
        query = {"filters": json.dumps({"type": ["container"]}), "since": str(int(now) - 1)}
        async with self._api.request("GET", "/events", query, stream=True, endless=True) as response:
            if response.status != 200:
                raise EngineUnreachable(f"{response.status}: {words(await response.read())}")
            self._stream = None if self._silent else response
            rest = b""
            async for chunk in response.content.iter_any():
                *lines, rest = (rest + chunk).split(b"\n")
                self._mark(line for line in lines if _LABEL in line)
                if self._warned or not self._stream:
                    log.info("the events of %s come again", self._api.kind)
                    self._silent = self._warned = False
                    self._stream = response
        raise EngineUnreachable("they ended")

    def _mark(self, events: Iterable[bytes]) -> None:
        for event in events:
            try:
                jid = json.loads(event)["Actor"]["Attributes"].get(JID_LABEL)
            except (ValueError, LookupError, TypeError, AttributeError) as error:
                raise EngineUnreachable(
                    f"what came is no event: {event.decode(errors='replace'):.200}"
                ) from error
            self._owed.pop(jid, None)
            self.forget(jid)
