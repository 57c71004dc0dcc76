"""What a site allows: a policy says what it means, or pman does not start."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from pman.errors import BadRequest, ConfigError
from pman.job import Job
from pman.translation import policyfile
from pman.translation.translation import Translation
from tests.a_job import FACTS, a_body, a_job, a_translation, site_templates


def refused(translation: Translation, job: Job) -> BadRequest:
    with pytest.raises(BadRequest) as caught:
        translation.render(job, FACTS)
    return caught.value


POLICY: dict[str, Any] = {
    "properties": {
        "request": {
            "properties": {
                "image": {
                    "description": "an image of ours",
                    "pattern": "^docker\\.io/fnndsc/[a-z-]+:[0-9.]+$",
                },
                "memory_limit": {"minimum": 1, "maximum": 4000},
                "cpu_limit": {"maximum": 2000},
            }
        },
        "documents": {
            "items": {
                "properties": {
                    "HostConfig": {
                        "required": ["Memory"],
                        "properties": {
                            "Privileged": False,
                            "Memory": {"minimum": 1},
                            "CapAdd": {"not": {"contains": {"const": "SYS_ADMIN"}}},
                            "Mounts": {
                                "items": {
                                    "properties": {
                                        "Source": {
                                            "description": "under the storebase",
                                            "pattern": "^/srv/storebase/",
                                        }
                                    }
                                }
                            },
                        },
                    }
                }
            }
        },
    }
}


def with_policy(directory: Path, policy: object = POLICY, **environ: str) -> Translation:
    file = directory / "policy.json"
    file.write_text(json.dumps(policy))
    return a_translation(PMAN_POLICY=str(file), **environ)


def test_a_job_within_the_policy_is_rendered_as_without(tmp_path: Path) -> None:
    assert with_policy(tmp_path).render(a_job(), FACTS) == a_translation().render(a_job(), FACTS)


@pytest.mark.parametrize(
    ("change", "path"),
    [
        ({"image": "docker.io/other/pl-a:1"}, "$.request.image"),
        ({"image": "docker.io/fnndsc/pl-a:1\n"}, "$.request.image"),
        ({"image": "evil/docker.io/fnndsc/pl-a:1"}, "$.request.image"),
        ({"memory_limit": 5000}, "$.request.memory_limit"),
        ({"cpu_limit": 64000}, "$.request.cpu_limit"),
    ],
)
def test_a_request_cannot_pass_the_policy(tmp_path: Path, change: dict[str, Any], path: str) -> None:
    error = refused(with_policy(tmp_path), a_job(**change))

    assert path in [fault.path for fault in error.faults]
    assert "not allowed by the site's policy" in str(error)
    assert "PMAN_POLICY" in error.hint


@pytest.mark.parametrize(
    ("block", "path"),
    [
        ("extra %}  Privileged: true", "$.documents[0].HostConfig.Privileged"),
        ("extra %}  Privileged: false", "$.documents[0].HostConfig.Privileged"),
        ("security %}  CapAdd: [SYS_ADMIN]", "$.documents[0].HostConfig.CapAdd"),
        (
            "resources %}  NanoCpus: {{ job.cpu_limit }}  # {{ job.memory_limit }}",
            "$.documents[0].HostConfig.Memory",
        ),
        (
            "mounts %}  Mounts: [{Source: /etc}]  # {{ job.input_dir ~ job.output_dir }}",
            "$.documents[0].HostConfig.Mounts[0].Source",
        ),
    ],
)
def test_a_template_cannot_pass_the_policy(tmp_path: Path, block: str, path: str) -> None:
    text = '{% extends "builtin/docker/container.yaml.j2" %}\n{% block ' + block + "\n{% endblock %}"
    site_templates(tmp_path, {"docker/container.yaml.j2": text})

    error = refused(with_policy(tmp_path, PMAN_TEMPLATES=str(tmp_path)), a_job())

    assert [fault.path for fault in error.faults] == [path]


def test_the_policy_holds_for_a_dry_run_too(tmp_path: Path) -> None:
    with pytest.raises(BadRequest, match="not allowed by the site's policy"):
        with_policy(tmp_path).show(a_job(image="other"), FACTS)


def test_the_policy_knows_the_engine(tmp_path: Path) -> None:
    error = refused(with_policy(tmp_path, {"properties": {"engine": {"const": "podman"}}}), a_job())

    assert [fault.path for fault in error.faults] == ["$.engine"]


def test_the_storebase_of_the_policy_is_where_the_engine_finds_it(tmp_path: Path) -> None:
    with pytest.raises(BadRequest) as caught:
        with_policy(tmp_path).render(a_job(), {"storebase": "/elsewhere"})

    assert {fault.path.rpartition(".")[0] for fault in caught.value.faults} == {
        "$.documents[0].HostConfig.Mounts[0]",
        "$.documents[0].HostConfig.Mounts[1]",
    }


hidden = st.text(min_size=8, max_size=30).map(lambda text: f"hidden {text}")


@given(value=hidden, name=st.sampled_from(["A", "CHRIS_USER_TOKEN"]))
@hypothesis_settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=50)
def test_no_message_of_a_policy_shows_the_value_of_a_variable(tmp_path: Path, name: str, value: str) -> None:
    forbids = {
        "properties": {
            "request": {"properties": {"env": {"maxItems": 0, "items": False}, "args": {"items": False}}},
            "documents": {
                "items": {"properties": {"Env": {"contains": {"const": "B=c"}}, "Cmd": {"maxItems": 0}}}
            },
        }
    }
    job = a_job(env=(f"{name}={value}",), args=(f"--token={value}",))

    error = refused(with_policy(tmp_path, forbids), job)

    assert len(error.faults) > 2
    assert "hidden" not in str(error)
    assert "hidden" not in str([fault.answer() for fault in error.faults])
    assert {fault.path.split("[")[0] for fault in error.faults} <= {
        "$.request.env", "$.request.args", "$.documents"}  # fmt: skip


def test_a_policy_that_is_not_there_stops_the_start(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"^PMAN_POLICY="):
        a_translation(PMAN_POLICY=str(tmp_path / "none.json"))


def on_request(**fields: Any) -> dict[str, Any]:
    return {"properties": {"request": {"properties": fields}}}


@pytest.mark.parametrize(
    ("field", "sent", "allowed"),
    [
        ("auid", "mallory", {"enum": ["rudolph"]}),
        ("type", "fs", {"const": "ds"}),
        ("args_path_flags", ["--in"], {"maxItems": 0}),
        ("number_of_workers", 2, {"maximum": 1}),
        ("input_dir", "other/in", {"pattern": "^key-"}),
    ],
)
def test_a_rule_on_any_field_of_the_request_holds(
    tmp_path: Path, field: str, sent: object, allowed: dict[str, Any]
) -> None:
    engine = "swarm" if field == "number_of_workers" else "docker"
    translation = with_policy(tmp_path, on_request(**{field: allowed}), CONTAINER_ENV=engine)

    error = refused(translation, translation.parse(a_body(**{field: sent})))

    assert [fault.path for fault in error.faults] == [f"$.request.{field}"]


@pytest.mark.parametrize("keyword", ["maximum", "exclusiveMaximum"])
@pytest.mark.parametrize("field", ["cpu_limit", "memory_limit"])
def test_no_limit_passes_no_maximum(tmp_path: Path, field: str, keyword: str) -> None:
    error = refused(with_policy(tmp_path, on_request(**{field: {keyword: 8192}})), a_job(**{field: 0}))

    assert [(fault.path, "no limit is not allowed" in fault.message) for fault in error.faults] == [
        (f"$.request.{field}", True)
    ]


def test_limits_that_the_site_ignores_pass_no_maximum(tmp_path: Path) -> None:
    error = refused(
        with_policy(tmp_path, on_request(memory_limit={"maximum": 8192}), IGNORE_LIMITS="yes"), a_job()
    )

    assert "no limit is not allowed" in str(error)


@pytest.mark.parametrize(
    ("engine", "path"),
    [
        ("docker", "HostConfig.Memory"),
        ("docker", "HostConfig.NanoCpus"),
        ("swarm", "TaskTemplate.Resources.Limits.MemoryBytes"),
    ],
)
def test_no_limit_in_a_document_passes_no_maximum(tmp_path: Path, engine: str, path: str) -> None:
    allowed: dict[str, Any] = {"maximum": 2**62}
    for name in reversed(path.split(".")):
        allowed = {"required": [name], "properties": {name: allowed}}
    policy = {"properties": {"documents": {"items": allowed}}}
    translation = with_policy(tmp_path, policy, CONTAINER_ENV=engine)

    translation.render(a_job(), FACTS)
    with pytest.raises(BadRequest) as caught:
        translation.render(a_job(cpu_limit=0, memory_limit=0), FACTS)

    assert str(caught.value)


@pytest.mark.parametrize(
    ("engine", "path"),
    [
        ("docker", "HostConfig.PidsLimit"),
        ("podman", "resource_limits.pids.limit"),
        ("swarm", "TaskTemplate.Resources.Limits.Pids"),
    ],
)
def test_no_limit_of_processes_passes_no_maximum(tmp_path: Path, engine: str, path: str) -> None:
    allowed: dict[str, Any] = {"maximum": 512}
    for name in reversed(path.split(".")):
        allowed = {"required": [name], "properties": {name: allowed}}
    policy = {"properties": {"documents": {"items": allowed}}}

    with_policy(tmp_path, policy, CONTAINER_ENV=engine, JOB_PIDS_LIMIT="512").render(a_job(), FACTS)
    with pytest.raises(BadRequest):
        with_policy(tmp_path, policy, CONTAINER_ENV=engine, JOB_PIDS_LIMIT="0").render(a_job(), FACTS)


def test_a_site_allows_no_limit_by_saying_so(tmp_path: Path) -> None:
    policy = on_request(memory_limit={"anyOf": [{"const": 0}, {"maximum": 8192}]})

    assert with_policy(tmp_path, policy).render(a_job(memory_limit=0), FACTS)


def test_the_sites_own_sentence_is_the_message(tmp_path: Path) -> None:
    sentence = "Ask the cluster's team for more than 8 GiB."
    policy = {
        "$defs": {"memory": {"maximum": 8192, "errorMessage": sentence}},
        **on_request(memory_limit={"$ref": "#/$defs/memory"}, cpu_limit={"maximum": 1000}),
    }
    translation = with_policy(tmp_path, policy)

    alone = refused(translation, a_job(memory_limit=9000))
    both = refused(translation, a_job(memory_limit=9000, cpu_limit=2000))

    assert (str(alone), alone.faults[0].path) == (sentence, "$.request.memory_limit")
    assert sentence in str(both)
    assert "cpu_limit: not allowed by the site's policy" in str(both)


def test_a_sentence_is_of_the_rule_that_failed_also_beside_a_reference(tmp_path: Path) -> None:
    policy = {
        "$defs": {"base": on_request(image={"pattern": "^r/", "errorMessage": "inner"})},
        "$ref": "#/$defs/base",
        **on_request(image={"minLength": 1, "errorMessage": "outer"}, auid={"minLength": 1}),
    }

    assert str(refused(with_policy(tmp_path, policy), a_job())) == "inner"


def test_a_policy_may_refer_to_itself(tmp_path: Path) -> None:
    policy = {
        "$defs": {
            "any": {
                "properties": {"Privileged": {"const": False}},
                "additionalProperties": {"$ref": "#/$defs/any"},
                "items": {"$ref": "#/$defs/any"},
            }
        },
        "properties": {"documents": {"$ref": "#/$defs/any"}},
    }
    block = "{% block extra %}  Privileged: true\n{% endblock %}"
    text = '{% extends "builtin/docker/container.yaml.j2" %}\n' + block
    site_templates(tmp_path / "site", {"docker/container.yaml.j2": text})

    assert with_policy(tmp_path, policy).render(a_job(), FACTS)
    error = refused(with_policy(tmp_path, policy, PMAN_TEMPLATES=str(tmp_path / "site")), a_job())
    assert [fault.path for fault in error.faults] == ["$.documents[0].HostConfig.Privileged"]


@pytest.mark.parametrize("engine", ["docker", "podman", "swarm", "local"])
def test_a_policy_may_name_what_documents_of_other_engines_have(tmp_path: Path, engine: str) -> None:
    names = {name: {"minLength": 1} for name in ("image", "Image", "labels", "Labels")}
    file = tmp_path / "policy.json"
    file.write_text(json.dumps({"properties": {"documents": {"items": {"properties": names}}}}))

    assert policyfile.read(file, engine)


@pytest.mark.parametrize("keyword", ["pattern", "patternProperties", "additionalProperties"])
def test_the_time_of_a_pattern_grows_with_the_text_alone(tmp_path: Path, keyword: str) -> None:
    """A backtracking engine needs 2 ** 60 steps for these."""
    evil = "^(a+)+$"
    policy = {
        "pattern": on_request(args={"items": {"pattern": evil}}),
        "patternProperties": {"properties": {"documents": {"items": {"properties": {
            "Labels": {"patternProperties": {evil: False}}}}}}},
        "additionalProperties": {"properties": {"documents": {"items": {"properties": {
            "Labels": {"patternProperties": {evil: {}}, "additionalProperties": {"minLength": 1}}}}}}},
    }[keyword]  # fmt: skip
    translation = with_policy(tmp_path, policy, JOB_LABELS=f"{'a' * 60}b=x")

    job = a_job(args=(("a" * 60) + "b",))
    if keyword == "pattern":
        assert "args[0]" in str(refused(translation, job))
    else:
        assert translation.render(job, FACTS)


@pytest.mark.parametrize(("extra", "passes"), [("aaa", True), ("b", False)])
def test_names_that_no_pattern_takes_are_others(tmp_path: Path, extra: str, passes: bool) -> None:
    labels = {"patternProperties": {"^org[.]": {}, "^a+$": {"const": "x"}}, "additionalProperties": False}
    policy = {"properties": {"documents": {"items": {"properties": {"Labels": labels}}}}}
    translation = with_policy(tmp_path, policy, JOB_LABELS=f"{extra}=x")

    if passes:
        assert translation.render(a_job(), FACTS)
    else:
        assert "documents[0].Labels.b" in str(refused(translation, a_job()))


@pytest.mark.parametrize("engine", ["docker", "kubernetes"])
def test_the_policy_of_several_engines_starts_on_each(tmp_path: Path, engine: str) -> None:
    file = Path(__file__).parents[2] / "examples/hardened/policy.json"

    assert policyfile.read(file, engine)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (None, "No such file"),
        ("", "Expecting value"),
        ("{,}", "Expecting property name"),
        ("[]", "no JSON Schema"),
        ('{"type": "nothing"}', "no JSON Schema"),
        ('{"properties": {"request": {"$ref": "#/$defs/nowhere"}}}', "#/\\$defs/nowhere' leads nowhere"),
        ('{"allOf": [{"$ref": "urn:nobody"}]}', "urn:nobody' leads nowhere"),
        ('{"allOf": [{"pattern": "[a"}]}', "is no pattern of RE2"),
        ('{"properties": {"engine": {"pattern": "^(?!docker)"}}}', r"is no pattern of RE2, which has no"),
        ('{"patternProperties": {"(a)\\\\1": {}}}', "is no pattern of RE2"),
        ('{"propertes": {}}', r"\$\.propertes: .*did you mean properties"),
        ('{"properties": {"request": {"properties": {"image": {"format": "uri"}}}}}', "image.format: .*heed"),
        ('{"properties": {"request": {"properties": {"imgae": {}}}}}', "imgae .*did you mean image"),
        (
            '{"if": {"required": ["request"], "properties": {"request": {"required": ["gpu"]}}}}',
            "gpu is not there",
        ),
        ('{"properties": {"documnts": {}}}', "documnts .*did you mean documents"),
        (
            '{"properties": {"request": {"$ref": "#/$defs/r"}}, "$defs": {"r": {"required": ["mem_limit"]}}}',
            "mem_limit .*did you mean memory_limit",
        ),
        (
            '{"properties": {"documents": {"items": {"properties": {"HostConfg": {}}}}}}',
            "did you mean HostConfig",
        ),
        (
            '{"properties": {"documents": {"prefixItems": [{"properties": {"HostConfig": {"properties": '
            '{"Privilegd": false}}}}]}}}',
            "did you mean Privileged",
        ),
        ('{"errorMessage": 3}', "errorMessage: use a text"),
        ('{"properties": {"request": {"$ref": "urn:pman:request"}}}', "held to pman's own schemas anyway"),
    ],
)
def test_a_policy_that_is_none_stops_the_start_and_names_the_file(
    tmp_path: Path, text: str | None, told: str
) -> None:
    file = tmp_path / "policy.json"
    if text is not None:
        file.write_text(text)

    with pytest.raises(ConfigError, match=f"^PMAN_POLICY={re.escape(repr(str(file)))}: .*{told}"):
        policyfile.read(file, "docker")
