"""Logs as Docker's API sends them: frames of stdout and stderr."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable

_ERRORS = 3


async def demultiplexed(
    chunks: AsyncIterator[bytes], on_error: Callable[[bytes], None] | None = None
) -> AsyncIterator[bytes]:
    """The payloads of Docker's frames: 1 byte stream, 3 zero, 4 length; a terminal's log has none.

    Stream 3 has the words of an engine that cannot fetch a log, or a part of it; `on_error` hears of them
    before they come.
    API 1.41 does not say which of the two it sends, but no text begins as a frame does.
    """
    buffer, framed = bytearray(), None
    async for chunk in chunks:
        buffer += chunk
        if framed is None and len(buffer) >= 4:
            framed = buffer[0] <= 3 and not any(buffer[1:4])
        if framed is False:
            yield bytes(buffer)
            buffer.clear()
        payload, start = bytearray(), 0
        while framed and len(buffer) >= start + 8:
            end = start + 8 + int.from_bytes(buffer[start + 4 : start + 8])
            if end > len(buffer):
                break
            if on_error and buffer[start] == _ERRORS:
                on_error(bytes(buffer[start + 8 : end]))
            payload += buffer[start + 8 : end]
            start = end
        if payload:
            yield bytes(payload)
        del buffer[:start]
    if buffer and not framed:
        yield bytes(buffer)
