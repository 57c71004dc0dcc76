"""Read scripts with `bash -n`, which runs nothing of them."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterator

_COMMAND = re.compile(r"command\s*<<<(.*?)>>>", re.DOTALL)
_LINE = re.compile(r"^\S*: line (\d+): (.*)$", re.MULTILINE)


def scripts(name: str, text: str) -> Iterator[tuple[str, int]]:
    """Finds what a shell is to read of a document, and where it begins."""
    if name.endswith(".sh"):
        yield text, 0
    elif name.endswith(".wdl"):
        for command in _COMMAND.finditer(text):
            yield command[1], command.start(1)


def bash() -> str | None:
    return shutil.which("bash")


def mistake(bash: str, script: str) -> tuple[int, str] | None:
    """Finds the first line that cannot be read: where it begins in the script, and why it cannot."""
    checked = subprocess.run(  # noqa: S603  (-n runs nothing)
        [bash, "-n"],
        input=script,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
        env={"LC_ALL": "C"},
    )
    complaint = _LINE.search(checked.stderr)
    if not (checked.returncode and complaint):
        return None
    lines = script.split("\n")
    ahead = sum(len(line) + 1 for line in lines[: int(complaint[1]) - 1])
    return min(ahead, len(script)), complaint[2]
