"""What a template is given is what schema/ declares, with unit and example; nothing is written by hand."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from pman import schema
from pman.cli.docs import markdown, variables_table
from pman.errors import ConfigError
from pman.settings import DECLARED
from pman.translation.functions import FUNCTIONS, TESTS
from pman.translation.inventory.docs import VARIABLES, docs, functions_table, variables
from pman.translation.inventory.inventory import engines
from pman.translation.request import PROPERTIES
from pman.translation.translation import PROBE
from pman.translation.variables import job_variables, site_variables
from tests.a_job import ENGINES, FACTS, a_job, settings_of, site_templates
from tests.workshop.test_eject import SITES

FILES = [file.name for engine in engines([]) for file in engine.files]
DECLARATIONS = [(engine, name, declared) for engine in ENGINES for name, declared in variables(engine)]


@pytest.mark.parametrize("engine", ENGINES)
def test_what_templates_are_given_is_what_is_declared(engine: str) -> None:
    for environ in SITES[engine]:
        settings = settings_of(engine, **environ)
        facts = {
            **FACTS,
            "namespaces": "user",
            "storebase_volume": {"name": "a", "device": ""},
            "subpath": True,
            "log_driver": "json-file",
        }
        job, site = job_variables(PROBE, settings), site_variables(settings, facts)
        given = {"job": job, "site": {name: value for name, value in site.items() if value is not None}}

        assert schema.faults(schema.validator(schema.load("variables.json")), given) == []
        declared = {name for name, _ in variables(engine)}
        assert {name for name in declared if name.startswith("job.")} == {f"job.{name}" for name in job}
        assert {name for name in declared if name.startswith("site.")} <= {f"site.{name}" for name in site}


def test_a_variable_that_is_not_declared_or_has_another_type_is_a_fault() -> None:
    job = job_variables(a_job(), settings_of())
    checker = schema.validator(schema.load("variables.json"))

    for wrong in ({**job, "priority": 1}, {**job, "uid": "root"}, {"jid": "a"}):
        assert schema.faults(checker, {"job": wrong, "site": FACTS})


@pytest.mark.parametrize(
    ("engine", "name", "declared"), DECLARATIONS, ids=lambda value: value if isinstance(value, str) else ""
)
def test_every_variable_has_a_type_a_meaning_an_example_and_a_number_its_unit(
    engine: str, name: str, declared: dict[str, Any]
) -> None:
    example = declared["examples"][0]

    assert declared["description"]
    assert "enum" in declared or declared["type"]
    field = name.removeprefix("job.")
    reference = f"urn:pman:variables#/properties/job/properties/{field}"
    checker = schema.validator({"$ref": reference} if field != name else declared)
    assert schema.faults(checker, example) == []
    assert bool(declared.get("x-unit")) == ("integer" in declared.get("type", ""))


@pytest.mark.parametrize(
    ("name", "declared"),
    [*PROPERTIES.items(), *DECLARED.items()],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_every_field_of_a_request_and_every_setting_has_an_example_that_it_takes(
    name: str, declared: dict[str, Any]
) -> None:
    resolved = {"$ref": f"urn:pman:request#/properties/{name}"} if name in PROPERTIES else declared

    assert schema.faults(schema.validator(resolved), declared["examples"][0]) == []
    assert bool(declared.get("x-unit")) == (declared.get("type") == "integer")


@pytest.mark.parametrize("name", FILES)
def test_every_template_is_documented(name: str) -> None:
    found = docs(name, [])

    assert found.doc
    if name.endswith(".j2"):
        assert found.blocks
        assert {variable.name for variable in found.variables} >= {
            f"job.{field}" for field in VARIABLES["job"]["properties"]
        }
        assert {name for block in found.blocks for name in block.reads} == {
            variable.name for variable in found.variables if set(variable.read_in) - {""}
        }
    else:
        assert found.blocks == ()
        assert found.variables[0].name == "native"
        assert {"signal(number)", "from_json(text)"} < {variable.name for variable in found.variables}
        assert all(variable.description for variable in found.variables)


def test_the_named_values_of_rules_are_those_of_what_they_extend_too(tmp_path: Path) -> None:
    site = site_templates(
        tmp_path,
        {"docker/state.yaml": "extends: builtin/docker/state.yaml\nvalues: {lucky: native.a\n  == 3}\n"},
    )

    named = {one.name: one.description for one in docs("docker/state.yaml", [site]).variables}

    assert named["lucky"] == "native.a == 3"
    assert "time_limit" in named
    assert "lucky" not in {one.name for one in docs("builtin/docker/state.yaml", [site]).variables}


def test_a_variable_says_which_blocks_read_it_and_whether_it_is_read_outside_of_them() -> None:
    read = {variable.name: variable.read_in for variable in docs("kubernetes/job.yaml.j2", []).variables}

    assert read["site.shm_size"] == ("shm_mount", "shm")
    assert read["site.timelimit_minutes"] == ("",)
    assert read["job.argv"] == ()
    assert "site.slurm_account" not in read


def test_the_blocks_of_a_sites_own_template_are_those_that_it_extends_too(tmp_path: Path) -> None:
    text = (
        '{% extends "builtin/docker/container.yaml.j2" %}\n'
        "{% block extra %}  Init: {{ site['remove_jobs'] }}\n{% endblock %}\n"
    )
    site = site_templates(tmp_path, {"docker/container.yaml.j2": text})

    found = {block.name: block for block in docs("docker/container.yaml.j2", [site]).blocks}

    assert (found["extra"].written_in, found["extra"].reads) == (
        "docker/container.yaml.j2",
        ("site.remove_jobs",),
    )
    assert found["extra"].doc == "more lines of HostConfig"
    read = {variable.name for variable in docs("swarm/service.yaml.j2", []).variables if variable.read_in}
    site_templates(tmp_path, {"swarm/service.yaml.j2": '{% extends "builtin/swarm/service.yaml.j2" %}'})
    assert read == {one.name for one in docs("swarm/service.yaml.j2", [site]).variables if one.read_in}
    assert found["gpu"].written_in == "builtin/docker/container.yaml.j2"


@pytest.mark.parametrize("name", FILES)
def test_markdown_has_a_row_for_each_block_and_variable(name: str) -> None:
    found = docs(name, [])
    text = markdown(found)

    rows = re.findall(r"^\| `([\w.(), ]+)` \|", text, re.MULTILINE)
    blocks, variables = ([one.name for one in many] for many in (found.blocks, found.variables))
    assert rows == [*blocks, *variables]
    table = [line for line in text.splitlines() if line.startswith("| ")]
    assert {len(re.findall(r"(?<!\\)\|", line)) for line in table} <= {4, 6}
    json.dumps([variable.example for variable in found.variables])


def test_the_documentation_shows_what_schema_declares_of_a_job() -> None:
    jobs = [one for one in docs("docker/container.yaml.j2", []).variables if one.name.startswith("job.")]

    text = (Path(__file__).parents[2] / "docs/templates.md").read_text()
    assert variables_table(jobs) in text, "run `make docs`"


def test_the_documentation_shows_every_function_and_test_of_rules() -> None:
    text = (Path(__file__).parents[2] / "docs/templates.md").read_text()

    assert functions_table() in text, "run `make docs`"
    assert {*FUNCTIONS, *TESTS} == set(re.findall(r"`(?:is )?([a-z_]+)\(", functions_table()))


def test_a_name_that_is_not_there_is_told() -> None:
    with pytest.raises(ConfigError, match=r"did you mean swarm/service\.yaml\.j2\?"):
        docs("swarm/services.yaml.j2", [])
