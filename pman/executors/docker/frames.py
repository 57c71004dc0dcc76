"""Logs as Docker's API sends them: frames of stdout and stderr."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Callable

from pman.errors import EngineUnreachable
from pman.executors.docker.api import Api, words

OnError = Callable[[bytes], None]
"""Takes the words of an engine that cannot fetch a log, or a part of it, before they come in the log."""

_HEADER_BYTES = 8
_ERRORS = 3


_LEAVING = "dead or marked for removal"
"""Among Docker's words for a container that is being deleted (moby's daemon/logs.go)."""


class NoLogError(Exception):
    """The engine has nothing of that name."""


async def read_log(
    api: Api, path: str, subject: str, tail: int, *, follow: bool = False, on_error: OnError | None = None
) -> AsyncGenerator[bytes]:
    """The last `tail` lines of what a path has a log of; with follow, to the end.

    `subject`: what the error says that cannot be shown. Raises NoLogError, EngineUnreachable.
    """
    query = {"stdout": "1", "stderr": "1", "tail": str(tail), "follow": str(int(follow))}
    async with api.request("GET", path, query, stream=True, endless=follow) as response:
        if response.status == 200:
            async for chunk in demultiplexed(response.content.iter_any(), on_error):
                yield chunk
            return
        message = words(await response.read())
    if "not support reading" in message:
        yield f"pman: the engine does not show this log: {message}\n".encode()
    elif response.status == 404 or _LEAVING in message:
        raise NoLogError(path)
    else:
        raise EngineUnreachable(f"{subject}: {message}")


async def demultiplexed(
    chunks: AsyncIterator[bytes], on_error: OnError | None = None
) -> AsyncIterator[bytes]:
    """The payloads of Docker's frames: 1 byte stream, 3 zero, 4 length; a terminal's log has none.

    API 1.41 does not say which of the two it sends, but no text begins as a frame does.
    """
    buffer, is_framed = bytearray(), None
    async for chunk in chunks:
        buffer += chunk
        if is_framed is None and len(buffer) >= 4:
            is_framed = buffer[0] <= _ERRORS and not any(buffer[1:4])
        if is_framed is False:
            yield bytes(buffer)
            buffer.clear()
        elif is_framed and (payload := _whole_frames(buffer, on_error)):
            yield payload
    if buffer and not is_framed:
        yield bytes(buffer)


def _whole_frames(buffer: bytearray, on_error: OnError | None) -> bytes:
    """Take the frames off the buffer that are whole; their payloads."""
    payload, start = bytearray(), 0
    while len(buffer) >= start + _HEADER_BYTES:
        begin = start + _HEADER_BYTES
        end = begin + int.from_bytes(buffer[start + 4 : begin])
        if end > len(buffer):
            break
        if on_error and buffer[start] == _ERRORS:
            on_error(bytes(buffer[begin:end]))
        payload += buffer[begin:end]
        start = end
    del buffer[:start]
    return bytes(payload)
