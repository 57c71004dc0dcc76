"""The end of a log, bounded, and with the cause of a failure as its last line."""

from __future__ import annotations

from pman.job import JobInfo

SHOWN = 1800
"""Characters at the end of a log that the platform shows its users."""


class Tail:
    """The last `limit` bytes of a stream."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._seen = 0
        self._end = bytearray()

    def add(self, chunk: bytes) -> None:
        self._seen += len(chunk)
        self._end += chunk
        del self._end[: -self._limit]

    def text(self) -> str:
        """Undecodable bytes are replaced; a cut starts at a whole character, and a line where it can."""
        cut = self._end
        if len(cut) < self._seen:
            line = cut.find(b"\n", 0, len(cut) // 2)
            cut = cut[line + 1 :] if line >= 0 else cut.lstrip(bytes(range(0x80, 0xC0)))
        return cut.decode("utf-8", "replace")


def with_cause(logs: str, info: JobInfo) -> str:
    """The platform shows its users the end of the log, not the message."""
    if info.status != "finishedWithError":
        return logs
    cause = " ".join(f"{info.message}{f' - {info.hint}' if info.hint else ''}".split())
    line = f"pman: {cause[: SHOWN - 100]}"
    return f"{logs}{'' if not logs or logs.endswith(chr(10)) else chr(10)}{line}\n"
