"""What is generated from schema/ and the templates is what the documentation shows."""

from __future__ import annotations

from pathlib import Path

from pman.commands.matrix import markdown, rows

DOCS = Path(__file__).parents[1] / "docs"


def test_the_option_by_engine_table_is_the_generated_one() -> None:
    assert markdown(rows([])) in (DOCS / "options.md").read_text(), "run `make docs`"
