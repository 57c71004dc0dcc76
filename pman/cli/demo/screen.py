"""How the demo looks: numbered chapters, each a heading and what it shows, indented below."""

from __future__ import annotations

import json
import os
import re
import shutil
import sys
import textwrap
import time
from collections.abc import Mapping, Sequence
from itertools import zip_longest
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.text import Text

from pman.cli.client import Answer
from pman.cli.terminal import coloured, syntax

LOG_LINES = 18
MARGIN = 3


class Screen:
    def __init__(self) -> None:
        self._console = Console(highlight=False)
        self._chapter = 0
        self._began = 0.0

    def pulling(self, engine: str, image: str) -> None:
        self._console.print(f"[dim]…[/] [bold]{engine}[/] is pulling {image}, this once")

    def unsuitable(self, engine: str, reason: Exception) -> None:
        self._console.print(f"[yellow]–[/] [bold]{engine}[/]: {escape(str(reason))}")

    def engine(self, version: str, note: str) -> None:
        self._chapter = 0
        self._console.print(f"[green]✔[/] [bold]{escape(version)}[/]{escape(note)}")

    def request(self, request: Mapping[str, Any], url: str) -> None:
        self._heading("The request", f"POST {url}")
        fields = (f"  {json.dumps(name)}: {json.dumps(value)}" for name, value in request.items())
        self._source("{\n" + ",\n".join(fields) + "\n}", "request.json")

    def documents(self, documents: Sequence[Mapping[str, Any]]) -> None:
        self._heading("What it becomes", "?dry_run=true, the values of env masked")
        for document in documents:
            self._show(Text(f"── {document['name']}", "dim"))
            self._source(document["text"], document["name"])

    def begin(self) -> None:
        self._heading("Its status", "GET …/<jid>/")
        self._began = time.monotonic()

    def status(self, job: Answer) -> None:
        seconds = time.monotonic() - self._began
        status = coloured(job["status"]) + " " * (len("finishedSuccessfully") - len(job["status"]))
        self._show(Text.from_markup(f"[dim]{seconds:.2f} s[/]  {status}  [dim]{escape(job['message'])}[/]"))

    def log(self, text: str) -> None:
        self._heading("Its log", "GET …/<jid>/logs/")
        lines = text.strip("\n").splitlines()
        cut = [f"… {len(lines) - LOG_LINES} lines more"] if len(lines) > LOG_LINES else []
        for line in [*cut, *lines[-LOG_LINES:]]:
            self._show(Text(f"│ {line}".rstrip(), "dim"))

    def files(self, incoming: Path, outgoing: Path) -> None:
        self._heading("Its files", "/share/incoming → /share/outgoing")
        read, written = _files(incoming), _files(outgoing)
        width = max(map(len, read))
        for left, arrow, right in zip_longest(read, "→", written, fillvalue=" "):
            self._show(Text(f"{left:<{width}}  {arrow}  ", "dim").append(right, "not dim"))

    def done(self, seconds: float, kept: Path | None) -> None:
        """`kept`: where the job's files are still to be seen."""
        own = "pman" if shutil.which("pman") else os.path.relpath(sys.argv[0])
        self._console.print(f"\n[green]✔[/] [bold]A real job, in {seconds:.1f} s.[/] Deleted again.")
        self._console.print(
            f"  Yours next: [bold]{own}[/] with check, serve, or run REQUEST.json", soft_wrap=True
        )
        if kept:
            self._console.print(f"  Its files are in {kept}", soft_wrap=True)

    def failed(self) -> None:
        self._console.print("[red]✘[/] No engine could run the demo; [bold]pman check[/] looks closer at one")

    def interrupted(self) -> None:
        self._console.print("\nInterrupted; the job and the server are gone.")

    def _heading(self, title: str, aside: str) -> None:
        self._chapter += 1
        self._console.print(f"\n[bold cyan]{self._chapter}[/]  [bold]{title}[/]  [dim]{escape(aside)}[/]")

    def _source(self, text: str, name: str) -> None:
        lines = re.sub(r"\n\s*\n+", "\n\n", text.strip("\n")).split("\n")
        folded = "\n".join(_folded(line, self._console.width - MARGIN) for line in lines)
        for line in syntax(folded, name).highlight(folded).split():
            self._show(line)

    def _show(self, line: Text) -> None:
        line.truncate(self._console.width - MARGIN, overflow="ellipsis")
        line.rstrip()
        self._console.print(Text(" " * MARGIN).append_text(line) if line else "")


def _folded(line: str, width: int) -> str:
    """A long line as several, which end where words do."""
    indent = " " * (len(line) - len(line.lstrip()))
    hanging = indent + ("# " if line.lstrip().startswith("#") else "    ")
    return textwrap.fill(
        line, width, subsequent_indent=hanging, break_long_words=False, break_on_hyphens=False
    )


def _files(directory: Path) -> list[str]:
    return [f"{file.name}  {_size(file.stat().st_size)}" for file in sorted(directory.iterdir())]


def _size(count: int) -> str:
    return f"{count} B" if count < 1000 else f"{count / 1000:.1f} kB"
