"""Where the shipped templates and schemas are: in the package, or beside it in a checkout."""

from pathlib import Path

_PACKAGE = Path(__file__).parent
_ROOT = _PACKAGE if (_PACKAGE / "templates").is_dir() else _PACKAGE.parent

TEMPLATES = _ROOT / "templates"
SCHEMA = _ROOT / "schema"
