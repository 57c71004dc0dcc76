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

LAYERS = {
    "pman.cli": {"web", "workshop", "engine", "translation", "executors"},
    "pman.web": {"engine", "translation"},
    "pman.workshop": {"translation"},
    "pman.engine": {"translation", "executors"},
    "pman.translation": set[str](),
    "pman.executors": set[str](),
}
"""The folders that each may import besides itself and the ground."""

GROUND = {"pman.job", "pman.errors", "pman.settings", "pman.schema", "pman.resources", "pman.suggest"}
"""The modules directly under pman/: data, errors and settings. They import nothing but each other."""

ENGINES = {file.stem for file in (SCHEMA / "engines").glob("*.json")}


def imported(module: str) -> set[str]:
    """The modules of pman that a module imports, wherever in it."""
    names = set()
    for node in ast.walk(ast.parse(MODULES[module].read_text("utf-8"))):
        if isinstance(node, ast.Import):
            names |= {name.name for name in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {f"{node.module}.{name.name}" for name in node.names} | {node.module}
    return {name for name in names if name in MODULES} - {"pman"}


def layer(module: str) -> str:
    """The folder under pman/ that a module lives in; "ground" for what lies directly under it."""
    return "ground" if module in GROUND else ".".join(module.split(".")[:2])


@pytest.mark.parametrize("module", sorted(MODULES.keys() - {"pman", "pman.__main__"}))
def test_a_module_imports_only_its_own_layer_and_those_below(module: str) -> None:
    own = layer(module)
    below = {own, "ground"} | {f"pman.{name}" for name in LAYERS.get(own, ())}

    assert {name for name in imported(module) if layer(name) not in below} == set()


def test_at_most_eight_modules_lie_directly_under_pman() -> None:
    assert len(list(PACKAGE.glob("*.py"))) <= 8


@pytest.mark.parametrize("module", sorted(name for name in MODULES if name.startswith("pman.translation")))
def test_translation_opens_no_connection_and_starts_no_process(module: str) -> None:
    assert not {name.split(".")[0] for name in third_parties(module)} & {
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
    known = {"pman.errors", "pman.job", "pman.resources"}

    assert {name for name in imported(module) if not name.startswith("pman.executors")} <= known


def third_parties(module: str) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(MODULES[module].read_text("utf-8"))):
        if isinstance(node, ast.Import):
            names |= {name.name for name in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module)
    return names


def compared_engines(tree: ast.AST) -> Iterator[str]:
    """The names of engines that are compared with something, or matched."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Compare | ast.match_case):
            for inner in ast.walk(node if isinstance(node, ast.Compare) else node.pattern):
                if isinstance(inner, ast.Constant) and inner.value in ENGINES:
                    yield f"line {inner.lineno}: {inner.value}"


@pytest.mark.parametrize("module", sorted(MODULES))
def test_no_name_of_an_engine_is_compared_outside_of_the_registry(module: str) -> None:
    assert not list(compared_engines(ast.parse(MODULES[module].read_text("utf-8"))))


def test_the_ways_that_an_engines_name_is_compared_are_seen() -> None:
    for code in ("engine == 'docker'", "engine in ('podman',)", "match engine:\n    case 'local': ..."):
        assert list(compared_engines(ast.parse(code)))
