"""The feed as server-sent events (WHATWG HTML, 9.2), of all jobs or of one."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable, Sequence

from cachetools import LRUCache
from quart import Response, current_app

from pman.engine.feed import EVENT_LIMIT, Event, Feed
from pman.errors import Busy

HEARTBEAT_SECONDS = 15.0
"""Seconds of silence after which a comment is sent: proxies cut what says nothing for a minute."""

RETRY_MILLISECONDS = 2000
"""Milliseconds after which a browser comes back."""

FOLLOWERS = 200
"""Those who follow events at once; nobody can take their connections back."""

_following: set[object] = set()


def streamed_events(
    feed: Feed,
    since: str | None,
    jid: str | None = None,
    *,
    heartbeat: float = HEARTBEAT_SECONDS,
    written: Callable[[Event], str] | None = None,
) -> Response:
    """Until the client goes; of one job, until that is removed. `since`: Last-Event-ID.

    `written`: an event as text, in place of the API's; '' for one that is left out. Raises Busy.
    """
    most = current_app.config.get("FOLLOWERS", FOLLOWERS)
    if len(_following) >= most:
        raise Busy(f"{most} streams of events are being followed; try again when others have ended")
    events = _stream(feed, since, jid, heartbeat, written or _written)
    response = Response(events, mimetype="text/event-stream")
    response.headers["Cache-Control"] = "no-store"
    response.headers["X-Accel-Buffering"] = "no"  # nginx would keep them back
    response.timeout = None
    return response


async def _stream(
    feed: Feed, since: str | None, jid: str | None, heartbeat: float, written: Callable[[Event], str]
) -> AsyncIterator[str]:
    place = object()
    async with contextlib.AsyncExitStack() as stack:
        _following.add(place)
        stack.callback(_following.discard, place)
        yield f"retry: {RETRY_MILLISECONDS}\n\n"
        events = await stack.enter_async_context(contextlib.aclosing(feed.subscribe(since)))
        following = asyncio.ensure_future(anext(events))
        try:
            while True:
                done, _ = await asyncio.wait({following}, timeout=heartbeat)
                if not done:
                    yield ": nothing has happened\n\n"
                    continue
                text, is_gone = _joined(following.result(), jid, written)
                if text:
                    yield text
                if is_gone:
                    return
                following = asyncio.ensure_future(anext(events))
        finally:
            following.cancel()
            await asyncio.gather(following, return_exceptions=True)


def _joined(events: Sequence[Event], jid: str | None, written: Callable[[Event], str]) -> tuple[str, bool]:
    """Events as one text, of all jobs or of one; and whether that one is gone."""
    texts = []
    for event in events:
        if jid is None or _is_about(event, jid):
            texts.append(written(event))
        if jid is not None and _is_gone(event, jid):
            return "".join(texts), True
    return "".join(texts), False


def _is_about(event: Event, jid: str) -> bool:
    return bool(event["job"]["jid"] == jid if "job" in event else event["type"] == "unavailable")


def _is_gone(event: Event, jid: str) -> bool:
    """A job that is not among those that are there was removed while nobody looked."""
    if event["type"] == "synced":
        return jid not in event["jids"]
    return bool(event["type"] == "removed" and event["job"]["jid"] == jid)


_texts: LRUCache[int, tuple[Event, str]] = LRUCache(EVENT_LIMIT)
"""The last events as text, made once for all who follow; beside the event, whose id() stays its own so."""


def _written(event: Event) -> str:
    if id(event) not in _texts:
        _texts[id(event)] = event, _text(event)
    return _texts[id(event)][1]


def _text(event: Event) -> str:
    data = {name: value for name, value in event.items() if name != "id"}
    place = f"id: {event['id']}\n" if event["id"] else ""
    return f"{place}event: {event['type']}\ndata: {json.dumps(data)}\n\n"
