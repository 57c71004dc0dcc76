"""A request, and what each engine would be sent for it. Nothing is submitted, and nothing of it is kept."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from quart import Blueprint, Response, request

from pman import schema
from pman.engine.engine import Engine
from pman.engine.previews import PreviewQueue, check_size, installed
from pman.errors import EngineUnreachable, Fault
from pman.translation import diff
from pman.translation.jsontext import without_env_values
from pman.translation.preview import Preview, TemplateSet
from pman.web.page.code import Row, rows
from pman.web.page.view import View

ALL = "all"
SETS = {"site": "this site's", "builtin": "the shipped ones", "diff": "what differs"}
"""The templates that a request is shown by."""

_PREVIEWS: Mapping[str, Sequence[TemplateSet]] = {
    "site": ["site"],
    "builtin": ["builtin"],
    "diff": ["site", "builtin"],
}
"""The previews that each takes."""

AROUND = 6
"""Lines of a template before and after one that is wrong."""

_OPTIONS: Mapping[str, Any] = schema.load("request.json")["properties"]


def _request(**changes: Any) -> str:
    """The first example of each option, but for what plugins rarely ask for, and a token as of ChRIS."""
    usual = {"gpu_limit": 0, "args_path_flags": [], "env": ["CHRIS_USER_TOKEN=not-a-real-one"]}
    first = {name: declared["examples"][0] for name, declared in _OPTIONS.items()}
    return json.dumps({**first, **usual, **changes}, indent=2, ensure_ascii=False) + "\n"


def _last(option: str) -> Any:
    """Its most telling example."""
    return _OPTIONS[option]["examples"][-1]


EXAMPLES: Mapping[str, str] = {
    "a plugin": _request(),
    "a GPU": _request(gpu_limit=_last("gpu_limit"), cpu_limit=8000, memory_limit=16000),
    "several workers": _request(number_of_workers=_last("number_of_workers")),
    "what a shell would read": _request(args=_last("args"), env=_last("env")),
    "mistakes": _request(
        jid="Chris jid 42", memory_limit="300 MB", input_dir="../etc", entrypoint="simpledsapp",
    ),
}  # fmt: skip
"""Requests to begin with, named for what is to be seen in them."""


def routes(page: Blueprint, engine: Engine, view: View, queue: PreviewQueue) -> None:
    names = installed()

    @page.get("/render")
    async def form() -> Response:
        example = request.args.get("example", next(iter(EXAMPLES)))
        text = EXAMPLES.get(example, "")
        return _answer(text, engine.settings.engine, "site", example=example)

    @page.post("/render")
    async def rendered() -> Response:
        given = await request.form
        check_size(len(given.get("request", "").encode()))
        text = given.get("request", "").replace("\r\n", "\n")  # as forms write the ends of lines
        on = given.get("engine", "")
        on = on if on in (*names, ALL) else engine.settings.engine
        chosen = given.get("templates", "")
        chosen = chosen if chosen in SETS else "site"
        shown = names if on == ALL else [on]
        facts = {engine.settings.engine: await _facts(engine)}

        def answer() -> Response:
            results = [
                [
                    queue.previews.preview(text, engine=name, templates=templates, facts=facts.get(name))
                    for templates in _PREVIEWS[chosen]
                ]
                for name in shown
            ]
            return _answer(text, on, chosen, results=results)

        return await queue.run(answer)

    def _answer(
        text: str,
        on: str,
        chosen: str,
        *,
        example: str = "",
        results: Sequence[Sequence[Preview]] = (),
    ) -> Response:
        wrong = _of_request(results)
        return view.answer(
            "render.html",
            section="Render",
            request=text,
            on=on,
            engines=names,
            all_engines=ALL,
            chosen=chosen,
            sets=SETS,
            example=example,
            examples=list(EXAMPLES),
            panels=[_panel(view, *result) for result in results],
            request_faults=wrong,
            request_rows=rows(without_env_values(text), "request.json", faults=wrong) if wrong else (),
            own_templates=bool(engine.settings["PMAN_TEMPLATES"]),
        )


async def _facts(engine: Engine) -> Mapping[str, Any] | None:
    try:
        return await engine.facts()
    except EngineUnreachable:
        return None


def _of_request(results: Sequence[Sequence[Preview]]) -> list[Fault]:
    """Collects what is wrong with the request, once for all engines that say the same.

    A fault whose line is not known, as of what is missing, stands at the first line.
    """
    several = len(results) > 1
    engines: dict[tuple[str, str, int], list[str]] = {}
    for preview, *_ in results:
        for fault in preview.faults:
            if fault.path.startswith("$"):
                engines.setdefault((fault.path, fault.message, fault.line or 1), []).append(preview.engine)
    faults = []
    for (path, message, line), by in engines.items():
        whose = f"{', '.join(by)}: " if several and len(by) < len(results) else ""
        faults.append(Fault(path, f"{whose}{message}", "", line))
    return sorted(faults, key=lambda fault: fault.line)


def _panel(view: View, preview: Preview, shipped: Preview | None = None) -> Mapping[str, Any]:
    """One engine's answer, as render.html shows it; `shipped`: what it is compared with in a diff."""
    wrong = [fault for fault in preview.faults if not fault.path.startswith("$")]
    if shipped is None:
        texts = [(document.name, rows(document.text, document.name)) for document in preview.documents]
        same = False
    else:
        wrong += [fault for fault in shipped.faults if not fault.path.startswith("$") and fault not in wrong]
        difference = "" if wrong else diff.unified(shipped.documents, preview.documents, ("shipped", "site"))
        texts = [("shipped → this site's", rows(difference, "a.diff"))] if difference else []
        same = not difference and bool(preview.documents)
    return {
        "engine": preview.engine,
        "documents": texts,
        "same": same,  # says of a diff that there is no difference
        "faults": wrong,  # but those of the request, which stand at its lines
        "places": [place for fault in wrong if (place := _place(view, fault))],
        "refused": [fault.message for fault in preview.faults if fault.path.startswith("$")],
        "hint": preview.hint,
        "notes": preview.notes,
    }


def _place(view: View, fault: Fault) -> tuple[str, Sequence[Row]] | None:
    """The template's name, and the lines around its fault."""
    if not (fault.file and fault.line):
        return None
    try:
        lines = Path(fault.file).read_text("utf-8").splitlines()
    except OSError:
        return None
    first = max(1, fault.line - AROUND)
    text = "\n".join(lines[first - 1 : fault.line + AROUND])
    return view.source_of(fault.file)[0], rows(text, fault.file, faults=[fault], first=first)
