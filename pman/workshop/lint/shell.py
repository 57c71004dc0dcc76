"""Whether a shell can read a script: by `bash -n`, which runs nothing of it."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass

_COMMAND = re.compile(r"command\s*<<<(.*?)>>>", re.DOTALL)
_LINE = re.compile(r"^\S*: line (\d+): (.*)$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Mistake:
    index: int
    """Of the begin of the line in the text."""

    message: str


def scripts(name: str, text: str) -> Iterator[tuple[str, int]]:
    """What a shell is to read of a document, and where it begins."""
    if name.endswith(".sh"):
        yield text, 0
    elif name.endswith(".wdl"):
        for command in _COMMAND.finditer(text):
            yield command[1], command.start(1)


class NotInstalled(Exception):
    """There is no bash to read scripts with."""


def bash() -> str | None:
    return shutil.which("bash")


def mistakes(name: str, text: str) -> Iterator[Mistake]:
    """The first mistake of each script in a document. Raises NotInstalled where there is one to read."""
    path = bash()
    for script, begin in scripts(name, text):
        if not path:
            raise NotInstalled
        checked = subprocess.run(  # noqa: S603  (-n runs nothing)
            [path, "-n"],
            input=script,
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
            env={"LC_ALL": "C"},
        )
        told = _LINE.search(checked.stderr)
        if checked.returncode and told:
            lines = script.split("\n")
            ahead = sum(len(line) + 1 for line in lines[: int(told[1]) - 1])
            yield Mistake(begin + min(ahead, len(script)), told[2])
