from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import pman
from pman.resources import SCHEMA

PACKAGE = Path(pman.__file__).parent
MODULES = {
    ".".join(("pman", *file.relative_to(PACKAGE).with_suffix("").parts)).removesuffix(".__init__"): file
    for file in PACKAGE.rglob("*.py")
    if "shipped" not in set(file.relative_to(PACKAGE).parts)
}

LAYERS = [
    {"pman.engine"},
    {"pman.workshop.lint.run"},
    {
        "pman.workshop.lint.documents",
        "pman.workshop.lint.states",
        "pman.workshop.lint.answers",
        "pman.workshop.lint.honoured",
    },
    {"pman.workshop.lint.templates", "pman.workshop.lint.formats"},
    {"pman.workshop.lint.native", "pman.workshop.lint.shell", "pman.workshop.lint.places"},
    {"pman.workshop.lint", "pman.workshop.lint.findings"},
    {"pman.workshop.preview", "pman.workshop.diff", "pman.workshop.golden"},
    {"pman.workshop.eject", "pman.workshop.accept"},
    {"pman.workshop.drift", "pman.workshop.docs"},
    {"pman.workshop.inventory", "pman.workshop.explain"},
    {"pman.workshop.header", "pman.workshop.record", "pman.workshop.threeway"},
    {"pman.workshop.source"},
    {"pman.workshop.assumed", "pman.workshop.lines", "pman.workshop.samples"},
    {"pman.translation", "pman.remembered"},
    {"pman.context", "pman.details"},
    {"pman.request", "pman.render", "pman.rules", "pman.settings", "pman.masking"},
    {"pman.statefile", "pman.origins"},
    {"pman.schema", "pman.literals", "pman.placement", "pman.overrides", "pman.logs", "pman.wdl"},
    {"pman.job", "pman.errors", "pman.failures", "pman.resources", "pman.workshop"},
]
"""From the edge to the core: a module imports from its own layer and those after it.

What is in none of them is the edge (routes, commands) or an executor, and nothing here imports it;
but for the engine, which connects through the registry of executors.
"""

ENGINES = {file.stem for file in (SCHEMA / "engines").glob("*.json")}


def imported(module: str) -> set[str]:
    """The modules of pman that a module imports, wherever in it."""
    found = set()
    for node in ast.walk(ast.parse(MODULES[module].read_text("utf-8"))):
        if isinstance(node, ast.Import):
            found |= {name.name for name in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {f"{node.module}.{name.name}" for name in node.names} | {node.module}
    return {name for name in found if name in MODULES}


def layer(module: str) -> int | None:
    return next((index for index, names in enumerate(LAYERS) if module in names), None)


@pytest.mark.parametrize("module", sorted(set().union(*LAYERS)))
def test_a_module_imports_only_what_lies_deeper(module: str) -> None:
    own = layer(module)

    for name in imported(module):
        deeper = layer(name)
        registry = module == "pman.engine" and name.startswith("pman.executors")
        assert own is not None
        assert registry or name == "pman" or (deeper is not None and deeper >= own), f"imports {name}"


@pytest.mark.parametrize(
    "module",
    sorted(set().union(*LAYERS[1:]) - {"pman.remembered", "pman.workshop.lint.shell"}),  # which asks bash
)
def test_what_is_pure_knows_no_executor_no_server_and_no_client(module: str) -> None:
    names = {name.split(".")[0] for name in third_parties(module)}

    assert not any(name.startswith("pman.executors") for name in imported(module))
    assert not names & {
        "aiohttp",
        "asyncio",
        "docker",
        "httptools",
        "quart",
        "requests",
        "socket",
        "subprocess",
    }


@pytest.mark.parametrize("module", sorted(name for name in MODULES if name.startswith("pman.executors")))
def test_an_executor_knows_of_pman_only_jobs_and_errors(module: str) -> None:
    known = {"pman", "pman.errors", "pman.job"}

    assert {name for name in imported(module) if not name.startswith("pman.executors")} <= known


def third_parties(module: str) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(MODULES[module].read_text("utf-8"))):
        if isinstance(node, ast.Import):
            found |= {name.name for name in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module)
    return found


def compared_engines(tree: ast.AST) -> Iterator[str]:
    """The names of engines that are compared with something, or matched."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Compare | ast.match_case):
            for inner in ast.walk(node if isinstance(node, ast.Compare) else node.pattern):
                if isinstance(inner, ast.Constant) and inner.value in ENGINES:
                    yield f"line {inner.lineno}: {inner.value}"


@pytest.mark.parametrize("module", sorted(set().union(*LAYERS)))
def test_no_name_of_an_engine_is_compared_outside_of_the_registry(module: str) -> None:
    assert not list(compared_engines(ast.parse(MODULES[module].read_text("utf-8"))))


def test_the_ways_that_an_engines_name_is_compared_are_seen() -> None:
    for code in ("engine == 'docker'", "engine in ('podman',)", "match engine:\n    case 'local': ..."):
        assert list(compared_engines(ast.parse(code)))
