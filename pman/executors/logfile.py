"""A log that is a file, as it is and as it grows."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import BinaryIO

LOOK_AGAIN = 0.1
"""Seconds between two looks at a log that is followed."""

_BLOCK = 2**16


async def chunks(
    path: Path, tail: int, ended: Callable[[], Awaitable[bool]] | None = None
) -> AsyncIterator[bytes]:
    """The last lines; with `ended`, all that is added, too, until that says so. Raises OSError."""
    with await asyncio.to_thread(path.open, "rb") as file:
        await asyncio.to_thread(_seek_lines, file, tail)
        while True:
            last = ended is None or await ended()  # asked first, so that nothing is missed
            while chunk := await asyncio.to_thread(file.read, _BLOCK):
                yield chunk
            if last:
                return
            await asyncio.sleep(LOOK_AGAIN)


def _seek_lines(file: BinaryIO, count: int) -> None:
    """To the beginning of the last lines, reading no more of the file than these."""
    end = position = file.seek(0, os.SEEK_END)
    if not count:
        return
    position = max(0, end - 1)  # a newline at the very end begins no line
    while position:
        size = min(_BLOCK, position)
        position -= size
        file.seek(position)
        block = file.read(size)
        newline = size
        while count and (newline := block.rfind(b"\n", 0, newline)) >= 0:
            count -= 1
        if not count:
            position += newline + 1
            break
    file.seek(position)
