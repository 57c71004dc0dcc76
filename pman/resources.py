"""Where the shipped templates, schemas and states are: in an installed package, or beside it in a clone."""

from pathlib import Path

_PACKAGE = Path(__file__).parent
_ROOT = _PACKAGE / "shipped" if (_PACKAGE / "shipped").is_dir() else _PACKAGE.parent

TEMPLATES = _ROOT / "templates"
SCHEMA = _ROOT / "schema"
STATES = _ROOT / "states"
"""What engines said of jobs, recorded: `ENGINE/NAME.json`, each with `native`, its date and its source."""
