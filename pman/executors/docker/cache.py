"""A cache of what the engine said of containers, for as long as its events do not tell otherwise.

Events only make it forget; what was forgotten is asked for when somebody wants to know. So a lost,
late or repeated event costs a question, or the truth for no longer than `MAX_AGE_SECONDS`, and nothing that
is answered here was put together from events.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import time
from collections.abc import Iterator
from dataclasses import dataclass
from email.utils import parsedate_to_datetime

from pman.errors import ConnectionCut, EngineUnreachable
from pman.executors.docker.api import Api, words
from pman.executors.shared.bounded import Bounded
from pman.executors.shared.http import lines
from pman.executors.shared.tasks import Attempts, cancel
from pman.job import JID_LABEL

log = logging.getLogger(__name__)

MAX_AGE_SECONDS = 60.0
"""After so long an inspection is asked for again: Docker drops events without a word where a reader
is slow (20.10: 1,191 unread ones)."""

EVENT_DEADLINE_SECONDS = 5.0
"""Within so long the event of a container that was created here must come. Podman reads the file or
journal that has its events four times a second."""

RECONNECT_SECONDS, MAX_RECONNECT_SECONDS = 0.5, 30.0
"""Between two attempts to have the events: the first pause, and the longest."""

MAX_REVISIONS = 100_000
"""Jobs whose revision is known, some 300 bytes each."""

MAX_BYTES = 16 * 2**20
"""The size of all inspections, some 5 kB each."""

_LABEL = JID_LABEL.encode()


@dataclass(slots=True, eq=False)
class Question:
    """A question to the engine that is not answered yet."""

    jid: str
    began: float
    stream: object
    answer: bytes = b""
    """Cached once the question is over, unless something happened to the job since."""


class Cache:
    def __init__(self, api: Api) -> None:
        self._api = api
        self._stream: object = None
        """Stands for the connection on which events come; None where none do."""

        self._listening: asyncio.Task[None] | None = None
        self._reading: asyncio.Task[None] | None = None
        self._questions: dict[str, list[Question]] = {}
        self._revisions: dict[str, tuple[int, float]] = {}
        """A job's revision and when it was asked for, by its name, oldest first."""

        self._inspections = Bounded[str, bytes](MAX_BYTES, getsizeof=len)
        """The jobs of some of the revisions, in the engine's words."""

        self._awaited: dict[str, float] = {}
        """Jobs whose creation the engine has yet to tell, and by when it must."""

        self._is_silent = False
        """The engine did not tell one in time; then its first event has to show that there are any."""

        self._has_warned = False

    def age(self, jid: str) -> float | None:
        """Seconds since the engine was asked, where what it said then still holds; else None."""
        revision = self._revisions.get(jid)
        if revision is None or self._stream is None:
            return None
        now = time.monotonic()
        if self._awaited and now > min(self._awaited.values()):
            self._is_silent = True
            self._doubt("of a container that was created here no event came")
            return None
        age = now - revision[1]
        return age if age < MAX_AGE_SECONDS else None

    def revision(self, jid: str) -> int | None:
        """A number that changes whenever the inspection does; None where that is not known."""
        return None if self.age(jid) is None else self._revisions[jid][0]

    def inspection(self, jid: str) -> bytes | None:
        body = self._inspections.get(jid)
        if body is None or (age := self.age(jid)) is None:
            return None
        log.debug("%s from the cache, %.1f s old", jid, age)
        return body

    @contextlib.contextmanager
    def asking(self, jid: str) -> Iterator[Question]:
        """Around a question to the engine for an inspection."""
        self._begin()
        question = Question(jid, time.monotonic(), self._stream)
        self._questions.setdefault(jid, []).append(question)
        try:
            yield question
        except ConnectionCut as error:  # the events' connection may be as dead, and not know it
            self._doubt(str(error))
            raise
        finally:
            valid = question in self._questions.get(jid, ())
            if valid:
                self._questions[jid].remove(question)
                if not self._questions[jid]:
                    del self._questions[jid]
        if valid and question.answer and question.stream is self._stream is not None:
            self._remember(question)

    def forget(self, jid: str) -> None:
        """Drop what is known of it: something happened to it, or is about to."""
        self._questions.pop(jid, None)
        self._drop(jid)

    @contextlib.contextmanager
    def creating(self, jid: str) -> Iterator[None]:
        """Around a call that creates a container.

        Where its events come, it must tell of this one soon, or it tells of nothing.
        """
        self._begin()
        if self._stream is not None:
            self._awaited[jid] = float("inf")
        try:
            yield
        except BaseException:
            self._awaited.pop(jid, None)
            raise
        finally:
            self.forget(jid)
        if jid in self._awaited:
            self._awaited[jid] = time.monotonic() + EVENT_DEADLINE_SECONDS

    async def close(self) -> None:
        await cancel(self._listening)

    def _begin(self) -> None:
        """Listen, from the first call on that needs it: there may be no event loop before."""
        if self._listening is None:
            self._listening = asyncio.create_task(self._listen())

    def _remember(self, question: Question) -> None:
        self.forget(question.jid)
        self._revisions[question.jid] = hash(question.answer), question.began
        self._inspections[question.jid] = question.answer
        oldest = question.began - MAX_AGE_SECONDS
        while len(self._revisions) > MAX_REVISIONS or next(iter(self._revisions.values()))[1] < oldest:
            self._drop(next(iter(self._revisions)))  # what is asked at this moment is none the older

    def _drop(self, jid: str) -> None:
        self._revisions.pop(jid, None)
        self._inspections.pop(jid, None)

    def _clear(self) -> None:
        self._stream = None
        for table in (self._questions, self._revisions, self._inspections, self._awaited):
            table.clear()

    def _doubt(self, why: str) -> None:
        if self._stream is not None and self._reading:
            self._warn(why)
            self._clear()
            self._reading.cancel()

    def _warn(self, why: str) -> None:
        level = logging.DEBUG if self._has_warned else logging.WARNING
        self._has_warned = True
        log.log(level, "polls ask %s for now, since its events do not come: %s", self._api.kind, why)

    async def _listen(self) -> None:
        """Read events for ever; while there are none, nothing is known."""
        attempts = Attempts(RECONNECT_SECONDS, MAX_RECONNECT_SECONDS)
        try:
            async for _ in attempts:
                began = time.monotonic()
                self._reading = asyncio.create_task(self._read())
                await asyncio.wait({self._reading})
                if not self._reading.cancelled():
                    error = self._reading.exception()
                    self._warn(str(error) if isinstance(error, EngineUnreachable) else repr(error))
                self._clear()
                if time.monotonic() - began > MAX_RECONNECT_SECONDS:
                    attempts.reset()
        finally:
            await cancel(self._reading)

    async def _read(self) -> None:
        """Drop what events tell of; nothing here waits for anything but them."""
        async with self._api.request("GET", "/_ping") as response:
            date = response.headers.get("Date")
        # By the engine's clock, and a second back, since it answers before it listens to its own
        # events (dockerd 20.10). No filter by label: Podman 4.3 wants the value, too.
        now = parsedate_to_datetime(date).timestamp() if date else time.time()
        query = {"filters": json.dumps({"type": ["container"]}), "since": str(int(now) - 1)}
        async with self._api.request("GET", "/events", query, stream=True, endless=True) as response:
            if response.status != 200:
                raise EngineUnreachable(f"{response.status}: {words(await response.read())}")
            self._stream = None if self._is_silent else response
            async for event in lines(response.content.iter_any()):
                if _LABEL in event:
                    self._mark(event)
                if self._has_warned or not self._stream:
                    log.info("the events of %s come again", self._api.kind)
                    self._is_silent = self._has_warned = False
                    self._stream = response
        raise EngineUnreachable("they ended")

    def _mark(self, event: bytes) -> None:
        try:
            jid = json.loads(event)["Actor"]["Attributes"].get(JID_LABEL)
        except (ValueError, LookupError, TypeError, AttributeError) as error:
            raise EngineUnreachable(
                f"what came is no event: {event.decode(errors='replace'):.200}"
            ) from error
        self._awaited.pop(jid, None)
        self.forget(jid)
