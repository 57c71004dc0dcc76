"""A log that is a file, as it is and as it grows."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import os
import stat
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import BinaryIO

from pman.executors.shared.tasks import Attempts

log = logging.getLogger(__name__)

FOLLOW_INTERVAL_SECONDS = 0.1
"""Between two looks at a log that is followed."""

QUIET_INTERVAL_SECONDS = 1.0
"""The same, at the most, while nothing is added: each look costs some threads their turn."""

_BLOCK = 2**16


async def chunks(
    path: Path,
    tail: int,
    ended: Callable[[], Awaitable[bool]] | None = None,
    *,
    within: Path | None = None,
    limit: int | None = None,
) -> AsyncIterator[bytes]:
    """The last lines, where there is a log; with `ended`, all that is added, too, until that says so.

    Then a log that is not there yet is awaited. `within`: see open_within, where the job itself can write
    beside its log. `limit`: bytes from the end, whatever the lines; one more is read, which tells that there
    is more. Raises OSError.
    """
    async for _ in Attempts(FOLLOW_INTERVAL_SECONDS):
        if ended is None or await asyncio.to_thread(path.exists) or await ended():
            break
    opened = asyncio.to_thread(open_within, path, within) if within else asyncio.to_thread(path.open, "rb")
    with contextlib.suppress(FileNotFoundError), await opened as file:
        rest = await asyncio.to_thread(_seek_lines, file, tail, limit)
        while ended is None and rest and (chunk := await asyncio.to_thread(file.read, min(_BLOCK, rest))):
            yield chunk
            rest -= len(chunk)  # a job may write faster than this is read
        pause = FOLLOW_INTERVAL_SECONDS
        while ended is not None:
            last = await ended()  # asked first, so that nothing is missed
            pause = min(pause * 1.5, QUIET_INTERVAL_SECONDS)
            while chunk := await asyncio.to_thread(file.read, _BLOCK):
                yield chunk
                pause = FOLLOW_INTERVAL_SECONDS
            if last:
                return
            await asyncio.sleep(pause)


def open_within(path: Path, root: Path) -> BinaryIO:
    """A file of a directory in which a job can put what it likes in the place of its log.

    A link may lead to another file there, not out of it: that would show what pman may read and the job
    may not. Nor is it a pipe, at which pman would wait for ever. Raises FileNotFoundError for both.
    """
    file = open_regular(path)
    try:
        status, real = os.fstat(file.fileno()), os.path.realpath(path)
        inside = os.path.commonpath([real, os.path.realpath(root)]) == os.path.realpath(root)
        # What was opened is looked at, and not what a link may lead to by now.
        if inside and os.path.samestat(status, os.lstat(real)):
            return file
    except BaseException:
        file.close()
        raise
    file.close()
    log.warning("%s is not read: it leads to %s, which is no file of the job's", path, real)
    raise FileNotFoundError(path)


def open_regular(path: Path, flags: int = 0) -> BinaryIO:
    """A file of which the end comes, unlike that of a pipe. Raises FileNotFoundError for all others.

    `flags`: O_NOFOLLOW, for none that a link leads to.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | flags)
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.ENXIO):  # a link; a socket
            raise FileNotFoundError(str(path)) from error
        raise
    if stat.S_ISREG(os.fstat(descriptor).st_mode):
        return os.fdopen(descriptor, "rb")
    os.close(descriptor)
    raise FileNotFoundError(str(path))


def _seek_lines(file: BinaryIO, count: int, limit: int | None) -> int:
    """Go to the beginning of the last lines, reading no more of the file than these; their bytes."""
    end = position = file.seek(0, os.SEEK_END)
    if not count:
        return 0
    first = 0 if limit is None else max(0, end - limit - 1)
    position = max(first, end - 1)  # a newline at the very end begins no line
    while position > first:
        size = min(_BLOCK, position - first)
        position -= size
        file.seek(position)
        block = file.read(size)
        newline = size
        if (lines := block.count(b"\n")) < count:
            count -= lines
            continue
        while count and (newline := block.rfind(b"\n", 0, newline)) >= 0:
            count -= 1
        if not count:
            position += newline + 1
            break
    file.seek(position)
    return end - position
