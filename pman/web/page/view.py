"""HTML from templates, and how the page writes times, sizes and statuses."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from quart import Response

from pman import __version__
from pman.errors import PmanError
from pman.resources import shipped_name
from pman.settings import Settings
from pman.web.page.session import Session

STATIC = Path(__file__).parent / "static"

STATUSES: Mapping[str, str] = {
    "notstarted": "waiting",
    "started": "running",
    "finishedSuccessfully": "succeeded",
    "finishedWithError": "failed",
    "undefined": "undefined",
}
"""The API's word for a status, and the page's, in the order of a job's life."""

SECTIONS = (("/", "Jobs"), ("/render", "Render"), ("/templates", "Templates"), ("/docs", "API"))


class NotThere(PmanError):
    """An address of the page that there is not."""

    status = 404


class View:
    """The page's templates, with what all of them show."""

    def __init__(self, settings: Settings, session: Session) -> None:
        self._site = [Path(directory) for directory in settings["PMAN_TEMPLATES"]]
        # Not that of render.py: these are HTML, with its escaping.
        self._environment = Environment(
            loader=PackageLoader("pman.web.page", "html"),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self._environment.globals.update(
            asset=asset,
            engine=settings.engine,
            version=__version__,
            statuses=STATUSES,
            sections=SECTIONS,
            source_of=self.source_of,
            session=session,
            removable=settings["REMOVE_JOBS"],
        )
        self._environment.filters.update(
            duration=duration, age=age, moment=moment, iso=iso, sentence=sentence
        )

    def source_of(self, path: str, line: int = 0) -> tuple[str, str]:
        """The name and the address of a template or rules: of a shipped one by its place in templates/."""
        at = f"#line-{line}" if line else ""
        if name := shipped_name(path):
            return f"templates/{name}", f"/templates/builtin/{name}{at}"
        for directory in self._site:
            if Path(path).is_relative_to(directory):
                return path, f"/templates/{Path(path).relative_to(directory).as_posix()}{at}"
        return path, ""

    def answer(self, name: str, *, status: int = 200, **variables: Any) -> Response:
        text = self._environment.get_template(name).render(variables)
        return Response(text, status=status, content_type="text/html; charset=utf-8")


@cache
def asset(name: str) -> str:
    """The address of a static file, another one once the file is another."""
    digest = hashlib.sha256((STATIC / name).read_bytes()).hexdigest()
    return f"/static/{name}?v={digest[:12]}"


def sentence(text: str) -> str:
    """The first one of a text of several lines."""
    return re.split(r"(?<=\.)\s", text.partition("\n\n")[0].strip(), maxsplit=1)[0].replace("\n", " ")


def duration(seconds: float | None) -> str:
    """`42 s`, `3 min 5 s`, `2 h 4 min`, `3 d 4 h`; '' where it is not known. page.js writes the same."""
    if seconds is None:
        return ""
    whole = max(0, int(seconds))
    for unit, name, part, short in ((86400, "d", 3600, "h"), (3600, "h", 60, "min"), (60, "min", 1, "s")):
        if whole >= unit:
            rest = whole % unit // part
            return f"{whole // unit} {name}" + (f" {rest} {short}" if rest else "")
    return f"{whole} s"


def age(since: datetime) -> str:
    return duration((datetime.now(UTC) - since).total_seconds())


def moment(at: datetime) -> str:
    """For a person: `2026-11-25 21:04:09 UTC`."""
    return f"{at.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"


def iso(at: datetime) -> str:
    """For a browser."""
    return at.astimezone(UTC).isoformat(timespec="milliseconds")
