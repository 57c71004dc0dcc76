"""The templates and rules of every engine: what is shipped, what is this site's, and what can be changed."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from quart import Blueprint, Response

from pman.engine.engine import Engine
from pman.engine.previews import PreviewQueue
from pman.errors import ConfigError, Fault
from pman.translation.inventory import docs, inventory
from pman.translation.inventory.inventory import EngineTemplates, TemplateFile
from pman.translation.overrides import RULES
from pman.translation.sources import BUILTIN
from pman.web.page.code import rows
from pman.web.page.view import NotThere, View


def routes(page: Blueprint, engine: Engine, view: View, queue: PreviewQueue) -> None:
    directories = [Path(directory) for directory in engine.settings["PMAN_TEMPLATES"]]

    def all_engines() -> tuple[EngineTemplates, ...]:
        return inventory.engines(directories)

    @page.get("/templates")
    async def templates() -> Response:
        inventories = await queue.cached(all_engines)
        own_first = sorted(inventories, key=lambda one: one.engine != engine.settings.engine)
        return view.answer(
            "templates.html", section="Templates", found=own_first, directories=directories, address=address
        )

    @page.get("/templates/<path:name>")
    async def template(name: str) -> Response:
        try:
            file = await queue.run(inventory.find, name, directories)
        except ConfigError as error:
            raise NotThere(str(error)) from error
        inventories = await queue.cached(all_engines)
        documentation = None if file.fault else await queue.run(docs.docs, name, directories)
        overridden = {block.line for block in file.blocks if block.overridden_by}
        return view.answer(
            "template.html",
            section="Templates",
            file=file,
            address=address,
            told=documentation,
            rules=_rules(file, inventories),
            other=_other(file, inventories),
            rows=rows(file.text, file.name, marked=overridden, faults=_here(file)),
        )


def address(file: TemplateFile) -> str:
    """The address of its page; a shipped file has one, also where a site's stands in its place."""
    return f"/templates/{BUILTIN if file.shipped and file.overridden_by else ''}{file.name}"


def _here(file: TemplateFile) -> list[Fault]:
    """The fault of a file that has one at a line of its own."""
    return [file.fault] if file.fault and file.fault.line and Path(file.fault.file) == file.path else []


def _rules(file: TemplateFile, inventories: tuple[EngineTemplates, ...]) -> Sequence[object]:
    """Lists, for a state.yaml, all rules that are tried for its engine, in their order."""
    if file.path.name != RULES:
        return ()
    return next(one.rules for one in inventories if one.engine == file.name.partition("/")[0])


def _other(file: TemplateFile, inventories: tuple[EngineTemplates, ...]) -> TemplateFile | None:
    """The shipped one of a site's file, or the other way round."""
    files = (one for engine in inventories for one in engine.files)
    return next((one for one in files if one.name == file.name and one.path != file.path), None)
