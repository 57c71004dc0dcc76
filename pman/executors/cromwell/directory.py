"""The directory of a call, where pman sees it: the job's log, and what SLURM said of its end."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Any

from pman.executors.shared.logfile import chunks, open_within
from pman.executors.shared.pathmap import seen

ERROR_BYTES = 4000
"""Bytes that are read at the end of what SLURM or a container engine said, perhaps the progress of a pull."""


class CallDirectory:
    """`root`: Cromwell's callRoot; `prefixes`: PATH_MAP."""

    def __init__(self, root: str, prefixes: Mapping[str, str]) -> None:
        self._name = f"{root}/execution"
        self._path = seen(self._name, prefixes)
        self._root = self._path.parent
        """The container writes into parts of it, where a log may then be a link that leads elsewhere."""

    def __str__(self) -> str:
        """The path on the cluster."""
        return self._name

    def is_visible(self) -> bool:
        """Asks the file system."""
        return self._path.is_dir()

    def native(self) -> Mapping[str, Any]:
        """The part that the rules read, see templates/cromwell/state.yaml; asks the file system."""
        native: dict[str, Any] = {"directory": self._name}
        if self.is_visible():
            native |= {"slurm": self._end("stderr.slurm"), "submit": self._end("stderr.submit")}
            with contextlib.suppress(ValueError):
                native["rc"] = int(self._end("rc"))
        return native

    async def log(
        self, tail: int, ended: Callable[[], Awaitable[bool]] | None = None, limit: int | None = None
    ) -> AsyncIterator[bytes]:
        """The output of the job, in the order it was written; where there is none, why it did not begin.

        `limit`: bytes from the end of each.
        """
        empty = True
        for name in ("stdout", "stderr"):  # the shipped template writes both into the first
            async for chunk in self._chunks(name, tail, ended if name == "stdout" else None, limit):
                empty = False
                yield chunk
        for name in ("stderr.submit", "stderr.slurm"):
            if empty:
                async for chunk in self._chunks(name, tail, limit=limit):
                    yield chunk

    def _chunks(
        self,
        name: str,
        tail: int,
        ended: Callable[[], Awaitable[bool]] | None = None,
        limit: int | None = None,
    ) -> AsyncIterator[bytes]:
        return chunks(self._path / name, tail, ended, within=self._root, limit=limit)

    def _end(self, name: str) -> str:
        try:
            with open_within(self._path / name, self._root) as file:
                file.seek(max(0, file.seek(0, 2) - ERROR_BYTES))
                return file.read().decode(errors="replace").strip()
        except OSError:
            return ""
