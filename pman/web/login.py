"""Which of the site's tokens a request brings, by Authorization (Bearer, Basic) or a session of the page."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from weakref import WeakSet

from pman.settings import TOKENS, Settings

FULL = TOKENS[0]
"""The name of the token that may change something."""

COOKIE = "pman-session"
SESSION_SECONDS = 12 * 3600
"""Seconds after which the page asks for the token again."""

MOST_SESSIONS = 1000
"""Sessions at a time; with one more, that which began first ends."""


class Tokens:
    """The site's tokens by the names of their settings; false where it has none. They are kept as digests."""

    def __init__(self, settings: Settings) -> None:
        self._digests: Mapping[str, bytes] = {
            name: _digest(settings[name].encode()) for name in TOKENS if settings[name]
        }

    def __bool__(self) -> bool:
        return bool(self._digests)

    def name_of(self, given: bytes) -> str:
        """The setting that this is the value of, or ''. Takes the same time whatever is given."""
        digest = _digest(given)
        names = [name for name, own in self._digests.items() if hmac.compare_digest(digest, own)]
        return names[0] if names else ""


def token_of(authorization: bytes) -> bytes:
    """The token in the value of a header Authorization; b"" where there is none in it.

    Bearer (RFC 6750), or Basic (RFC 7617) with any user name: `requests` and others send that for the user
    information of an address, http://pman:TOKEN@pman:5010/.
    """
    scheme, _, value = authorization.strip().partition(b" ")
    if scheme.lower() == b"bearer":
        return value.strip()
    if scheme.lower() != b"basic":
        return b""
    try:
        return base64.b64decode(value.strip(), validate=True).partition(b":")[2]
    except ValueError:
        return b""


@dataclass(frozen=True, slots=True)
class _Session:
    token: str
    deadline: asyncio.TimerHandle
    streams: WeakSet[asyncio.Task[Any]] = field(default_factory=WeakSet)


class Sessions:
    """Browsers that have brought a token, each by a name that only its cookie has.

    Kept here and not in the cookie: one that is ended is ended whoever has the cookie. They end with the
    process, too.
    """

    def __init__(self, seconds: float = SESSION_SECONDS) -> None:
        self._seconds = seconds
        self._sessions: dict[bytes, _Session] = {}

    def begin(self, token: str) -> str:
        """The cookie of a new session, in which the token of this name was brought."""
        if len(self._sessions) >= MOST_SESSIONS:
            self._end(next(iter(self._sessions)))
        cookie = secrets.token_urlsafe(32)
        key = _digest(cookie.encode())
        deadline = asyncio.get_running_loop().call_later(self._seconds, self._end, key)
        self._sessions[key] = _Session(token, deadline)
        return cookie

    def name_of(self, cookie: str) -> str:
        """The name of the token, or '' where there is no such session."""
        session = self._of(cookie)
        return session.token if session else ""

    def answers(self, cookie: str) -> bool:
        """Have the stream that this task sends end with the session. False where that has ended already."""
        session, task = self._of(cookie), asyncio.current_task()
        if session and task:
            session.streams.add(task)
        return bool(session)

    def end(self, cookie: str) -> None:
        self._end(_digest(cookie.encode()))

    def _of(self, cookie: str) -> _Session | None:
        return self._sessions.get(_digest(cookie.encode())) if cookie else None

    def _end(self, key: bytes) -> None:
        if session := self._sessions.pop(key, None):
            session.deadline.cancel()
            for task in session.streams:
                task.cancel()


def _digest(text: bytes) -> bytes:
    return hashlib.sha256(text).digest()
