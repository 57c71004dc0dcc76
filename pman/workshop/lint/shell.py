"""Read scripts with `bash -n`, which runs nothing of them."""

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
    """A line that a shell cannot read."""

    index: int
    """Where the line begins in the text."""

    message: str


def scripts(name: str, text: str) -> Iterator[tuple[str, int]]:
    """Finds what a shell is to read of a document, and where it begins."""
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
    """Finds the first mistake of each script in a document. Raises NotInstalled where there is a script."""
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
        complaint = _LINE.search(checked.stderr)
        if checked.returncode and complaint:
            lines = script.split("\n")
            ahead = sum(len(line) + 1 for line in lines[: int(complaint[1]) - 1])
            yield Mistake(begin + min(ahead, len(script)), complaint[2])
