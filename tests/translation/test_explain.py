"""Which rule decides for a state, and why: the same rule that decides where a job is polled."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from pman.errors import ConfigError, EngineUnreachable
from pman.resources import TEMPLATES
from pman.translation.explain import explain, jid_of
from pman.translation.render import loader
from pman.translation.rules import Rules
from tests import states
from tests.a_job import ENGINES, site_templates

RECORDED = [(engine, state) for engine in ENGINES for state in states.recorded(engine)]


@cache
def shipped(engine: str) -> Rules:
    return Rules(engine, loader())


@pytest.mark.parametrize(("engine", "state"), RECORDED)
def test_the_rule_that_decides_is_the_one_whose_status_pman_answers(engine: str, state: str) -> None:
    native = states.native(engine, state)

    found = explain(shipped(engine), "a-job", native)

    decided = found.tried[-1]
    assert found.decided == decided
    assert [rule.holds for rule in found.tried[:-1]] == [False] * (len(found.tried) - 1)
    try:
        answered = shipped(engine).read("a-job", native)
    except EngineUnreachable as error:
        assert (decided.status, found.status, found.message) == ("unavailable", 503, str(error))
    else:
        assert (decided.status, found.info) == (answered.status, answered)
    json.dumps([found.values, found.answer])


@pytest.mark.parametrize(("engine", "state"), RECORDED[::7])
def test_each_rule_that_was_tried_stands_where_it_is_said_to(engine: str, state: str) -> None:
    for rule in explain(shipped(engine), "a-job", states.native(engine, state)).tried:
        lines = Path(rule.file).read_text().splitlines()[rule.line - 1 :]
        first, status = lines[0], next(line for line in lines if "status:" in line)

        assert Path(rule.file).is_relative_to(TEMPLATES)
        assert first.startswith("  - when:" if rule.when else "  - status:")
        assert f" status: {rule.status}" in status


SITE = """extends: builtin/docker/state.yaml
values:
  lucky: native.State.ExitCode == 3
rules:
  - when: native.State.Missing > 4
    status: undefined
    message: never
  # with a comment
  - when: lucky
    status: finishedSuccessfully
    message: exit code 3 is what this site's plugins end with
"""


def test_a_sites_own_rule_is_tried_first_and_found_in_its_own_file(tmp_path: Path) -> None:
    site = site_templates(tmp_path, {"docker/state.yaml": SITE})

    found = explain(Rules("docker", loader(site)), "a-job", states.native("docker", "exited-3"))

    assert [(rule.index, rule.line, rule.holds) for rule in found.tried] == [(0, 5, False), (1, 9, True)]
    assert {rule.file for rule in found.tried} == {str(site / "docker/state.yaml")}
    assert found.values["lucky"] is True
    assert found.answer["message"] == "exit code 3 is what this site's plugins end with"


def test_a_state_for_which_no_rule_holds_has_tried_them_all(tmp_path: Path) -> None:
    rule = "rules: [{when: native.never, status: started, message: m}]"
    site = site_templates(tmp_path, {"docker/state.yaml": rule})

    found = explain(Rules("docker", loader(site)), "a-job", {})

    assert (len(found.tried), found.decided) == (1, None)
    assert "has no rule for this state" in found.message


def test_a_rule_that_fails_for_a_state_is_told_with_its_line(tmp_path: Path) -> None:
    rules = (
        "rules:\n"
        "  - {when: native.never, status: started, message: m}\n"
        "  - {when: native.text + 1, status: started, message: m}\n"
    )
    site = site_templates(tmp_path, {"docker/state.yaml": rules})

    with pytest.raises(ConfigError, match=r"state\.yaml.*fails for this state") as raised:
        explain(Rules("docker", loader(site)), "a-job", {"text": "one"})

    (fault,) = raised.value.faults
    assert (fault.file, fault.line) == (str(site / "docker/state.yaml"), 3)


def test_a_value_that_fails_for_a_state_is_told(tmp_path: Path) -> None:
    site = site_templates(tmp_path, {"docker/state.yaml": "values: {sum: native.text + 1}\n"})

    with pytest.raises(ConfigError, match=r"docker/state\.yaml: a value fails for this state"):
        explain(Rules("docker", loader(site)), "a-job", {"text": "one"})


@pytest.mark.parametrize(
    ("native", "jid"),
    [
        ({"Config": {"Labels": {"org.chrisproject.pman.jid": "a"}}}, "a"),
        ({"pods": [{"metadata": {}}, {"metadata": {"labels": {"org.chrisproject.pman.jid": "b"}}}]}, "b"),
        ({"Config": {"Labels": None}}, ""),
        ("text", ""),
    ],
)
def test_the_job_of_a_state_is_known_by_its_label(native: Mapping[str, Any], jid: str) -> None:
    assert jid_of(native) == jid
