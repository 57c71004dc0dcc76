"""Each piece of a document is traced to the template's line that wrote it, and the text stays the same."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pman.errors import ConfigError
from pman.resources import TEMPLATES
from pman.translation.render import Rendering, Templates, loader
from pman.translation.sourcemap import Origin
from pman.translation.variables import job_variables, site_variables
from tests.a_job import ENGINES, FACTS, a_job, a_translation, site_templates


def traced(directory: Path, files: dict[str, str], **job: object) -> Rendering:
    return Templates("site", loader(site_templates(directory, files), shipped=())).traced(job, {})


def origins(found: Rendering) -> Iterator[list[Origin]]:
    """Lists what wrote each line of each document, by the first of its characters that is no blank."""
    for document, source_map in zip(found.documents, found.source_maps, strict=True):
        lines = re.finditer(r"[^\n]*\n|[^\n]+", document.text)
        yield [source_map.at(line.end() - len(line[0].lstrip() or line[0])) for line in lines]


def lines(found: Rendering) -> list[tuple[str, int]]:
    return [(Path(origin.file).name, origin.line) for origin in next(origins(found))]


@pytest.mark.parametrize("engine", ENGINES)
def test_what_is_traced_is_what_is_rendered(engine: str) -> None:
    needed = {"cromwell": {"CROMWELL_URL": "http://c"}, "slurm": {"SLURM_MODE": "cli"}}
    translation = a_translation(engine, **needed.get(engine, {}))
    templates = Templates(engine, loader())
    job, site = job_variables(a_job(), translation.settings), site_variables(translation.settings, FACTS)

    found = templates.traced(job, site)

    assert found.documents == templates.render(job, site).documents
    assert found.read == templates.render(job, site).read
    for written in origins(found):
        assert {Path(origin.file).is_relative_to(TEMPLATES) for origin in written} == {True}


@given(texts=st.lists(st.text(alphabet=st.characters(blacklist_categories=["Cs"])), min_size=1))
def test_any_value_is_traced_to_the_line_that_writes_it(
    texts: list[str], tmp_path_factory: pytest.TempPathFactory
) -> None:
    source = "a: 1\n{% for text in job.texts %}\n- {{ text }}\n{% endfor %}\n"

    found = traced(
        tmp_path_factory.mktemp("t"), {"site/body.yaml.j2": source.removeprefix("a: 1\n")}, texts=texts
    )

    assert lines(found) == [("body.yaml.j2", 2)] * len(texts)


def test_a_line_is_traced_through_blocks_macros_includes_and_indentation(tmp_path: Path) -> None:
    files = {
        "site/_base.yaml.j2": "a: 1\n{% block b %}\nb: 2\n{% endblock %}\nz: 26\n",
        "site/_macros.yaml.j2": "{# #}\n{% macro pair(value) %}\n\nx: 1\ny: {{ value }}\n{% endmacro %}\n",
        "site/_part.yaml.j2": "part: 1\n",
        "site/body.yaml.j2": (
            '{% extends "site/_base.yaml.j2" %}\n{% from "site/_macros.yaml.j2" import pair %}\n'
            "{% block b %}\n{{ super() }}\n{% set kept %}\ntext\n{% endset %}\n"
            '{% if kept == "text\\n" %}\nc:\n  {{ pair(3) | indent(2) }}\n{% endif %}\n'
            '{% include "site/_part.yaml.j2" %}\n{% endblock %}\n'
        ),
    }

    found = traced(tmp_path, files)

    told = dict(zip(found.documents[0].text.splitlines(), lines(found), strict=True))
    assert found.documents[0].content == {"a": 1, "b": 2, "c": {"x": 1, "y": 3}, "part": 1, "z": 26}
    assert told["a: 1"] == ("_base.yaml.j2", 1)
    assert told["b: 2"] == ("_base.yaml.j2", 3)
    assert told["c:"] == ("body.yaml.j2", 9)
    assert told["  x: 1"] == ("_macros.yaml.j2", 4)
    assert told["  y: 3"] == ("_macros.yaml.j2", 5)
    assert told["part: 1"] == ("_part.yaml.j2", 1)
    assert told["z: 26"] == ("_base.yaml.j2", 5)


def test_each_document_of_a_file_has_its_own_lines(tmp_path: Path) -> None:
    found = traced(tmp_path, {"site/body.yaml.j2": "a: 1\n---\n# second\nb: 1\n---\nc: 1\nd: 1\n"})

    assert [[origin.line for origin in written] for written in origins(found)] == [
        [1],
        [3, 4],
        [6, 7],
    ]


@pytest.mark.parametrize(
    ("name", "text", "line"),
    [
        ("body.yaml.j2", "{# #}\n{% if true %}\na: 1\n\n  b: 2\n{% endif %}\n", 5),
        ("body.yaml.j2", "{# a\nb #}\na: 1\nb: 2\na: 3\n", 5),
        ("body.yaml.j2", "a:\n{% for n in [1, 2] %}\n  - {{ n }}\n\tb: 1\n{% endfor %}\n", 4),
        ("body.json.j2", '{# #}\n{\n{% if true %}\n"a": 1\n"b": 2\n{% endif %}\n}\n', 5),
        ("body.wdl.j2", "{# #}\nversion 1.0\n{% if true %}\nworkflow w {\n  call t\n}\n{% endif %}\n", 5),
        ("body.sh.j2", "{# #}\n{% if true %}\n\necho 'a {{ job.text }}'\n{% endif %}\n", 4),
    ],
)
def test_what_only_the_document_tells_is_told_with_the_templates_line(
    tmp_path: Path, name: str, text: str, line: int
) -> None:
    templates = Templates("site", loader(site_templates(tmp_path, {f"site/{name}": text}), shipped=()))

    with pytest.raises(ConfigError) as caught:
        templates.render({"text": "x"}, {})

    (fault,) = caught.value.faults
    assert (Path(fault.file), fault.line) == (tmp_path / "site" / name, line)
    assert str(caught.value).startswith(f"{tmp_path}/site/{name}, line {line}: ")


def test_the_branches_that_were_taken_are_noted(tmp_path: Path) -> None:
    source = (
        "{% if job.a %}\na: 1\n{% elif job.b %}\nb: 1\n{% else %}\nc: 1\n{% endif %}\n"
        "{% for n in job.many %}\nd{{ n }}: 1\n{% else %}\ne: 1\n{% endfor %}\n"
        "f: {{ 1 if job.a else 2 }}\n{% if job.b %}\ng: 1\n{% endif %}\n"
    )
    templates = Templates("site", loader(site_templates(tmp_path, {"site/body.yaml.j2": source}), shipped=()))

    templates.traced({"a": True, "b": False, "many": []}, {})

    branches = templates.notes.branches
    assert {branches[number].line for number in templates.notes.taken} == {1, 11, 13, 14}
    missed = [branch for number, branch in enumerate(branches) if number not in templates.notes.taken]
    assert [(branch.line, branch.description) for branch in missed] == [
        (3, "the body of this elif"),
        (6, "the else of this if"),
        (8, "the body of this for"),
        (13, "the value of the else in this expression"),
        (14, "the body of this if"),
    ]
