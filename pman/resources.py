"""Where templates, schemas and recorded states are: pman's own, and those of packages with an engine."""

from functools import cache
from importlib.machinery import ModuleSpec
from importlib.metadata import entry_points
from importlib.util import find_spec
from pathlib import Path

ENGINES = "pman.executors"
"""The group of entry points by which engines are found."""

_PACKAGE = Path(__file__).parent
_ROOT = _PACKAGE / "shipped" if (_PACKAGE / "shipped").is_dir() else _PACKAGE.parent

TEMPLATES = _ROOT / "templates"
SCHEMA = _ROOT / "schema"
STATES = _ROOT / "states"
"""Answers of engines, recorded as `ENGINE/NAME.json`, each with `native`, its date and its source."""


@cache
def packages() -> tuple[Path, ...]:
    """The folders of other packages' engines, which have templates/ and schema/ as pman's own root has."""
    modules = {entry.module for entry in entry_points(group=ENGINES)}
    specs = [_spec(module) for module in sorted(modules) if not module.startswith("pman.")]
    return tuple(Path(folder) for spec in specs if spec for folder in spec.submodule_search_locations or ())


def _spec(module: str) -> ModuleSpec | None:
    """Finds no package in one that cannot be imported: who chooses its engine is told (executors.connect)."""
    try:
        return find_spec(module)
    except Exception:  # it is another's code
        return None


def shipped_name(file: Path | str) -> str | None:
    """Names a shipped file by its place in templates/, e.g. `docker/state.yaml`; None for a site's."""
    path = Path(file)
    return path.relative_to(TEMPLATES).as_posix() if path.is_relative_to(TEMPLATES) else None
