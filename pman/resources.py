"""Where the shipped templates, schemas and recorded states are: in an installed package, or beside it in a checkout."""

from pathlib import Path

_PACKAGE = Path(__file__).parent
_ROOT = _PACKAGE / "shipped" if (_PACKAGE / "shipped").is_dir() else _PACKAGE.parent

TEMPLATES = _ROOT / "templates"
SCHEMA = _ROOT / "schema"
STATES = _ROOT / "states"
"""What engines said of jobs, recorded: `ENGINE/NAME.json`, each with `native`, and when and what it was told by."""
