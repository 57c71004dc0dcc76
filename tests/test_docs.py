"""What is generated from schema/ and the templates is what the documentation shows."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import pytest

from pman import executors
from pman.cli.config import markdown
from pman.translation.honoured import rows
from pman.web.api import openapi as operations
from pman.workshop.lint import findings
from tests.a_job import FACTS, a_job, a_translation, site_templates

DOCS = Path(__file__).parents[1] / "docs"


def test_the_option_by_engine_table_is_the_generated_one() -> None:
    assert markdown(rows([], executors.names())) in (DOCS / "options.md").read_text(), "run `make docs`"


def test_the_table_of_operations_is_the_generated_one() -> None:
    assert (DOCS / "api.md").read_text().endswith(f"\n\n{operations.table()}"), "run `make docs`"


def test_the_table_of_what_lint_finds_is_the_generated_one() -> None:
    assert (DOCS / "lint.md").read_text().endswith(f"\n\n{findings.table()}"), "run `make docs`"


FENCES = [
    (file.name, fence)
    for file in (DOCS.parent / "README.md", *DOCS.glob("*.md"))
    for fence in re.findall(r"```jinja\n(.*?)```", file.read_text(), re.DOTALL)
]


@pytest.mark.parametrize(("name", "fence"), FENCES)
def test_every_template_in_the_documentation_works(name: str, fence: str, tmp_path: Path) -> None:
    site = site_templates(tmp_path, {"docker/container.yaml.j2": fence})

    (document,) = a_translation("docker", PMAN_TEMPLATES=str(site)).render(a_job(), FACTS)
    host = cast(Mapping[str, Any], document.content)["HostConfig"]

    assert {"OomScoreAdj", "ReadonlyRootfs"} & set(host), f"{name}: {host}"


def test_every_link_of_the_documentation_leads_somewhere() -> None:
    root = DOCS.parent
    for file in (
        *root.glob("*.md"),
        root / "bench/README.md",
        *root.glob("examples/**/*.md"),
        *DOCS.glob("*.md"),
    ):
        for target in re.findall(r"\]\(([^)#]+)\)", file.read_text()):
            assert target.startswith("http") or (file.parent / target).exists(), f"{file.name}: {target}"
