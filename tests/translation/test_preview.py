from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from pman.errors import PmanError
from pman.settings import MASK, Settings
from pman.translation import assumed
from pman.translation.preview import CHANGED, Preview, Previews
from tests.a_job import ENGINES, a_body, settings_of, site_templates

EXTENDED = '{% extends "builtin/docker/container.yaml.j2" %}\n'
SCORE = EXTENDED + "{% block extra %}  OomScoreAdj: 512\n{% endblock %}\n"
SECRET = "CHRIS_USER_TOKEN=open-sesame"  # noqa: S105  (no one's)


def the_site(directory: Path, template: str = SCORE) -> Path:
    return site_templates(directory, {"docker/container.yaml.j2": template})


def preview(body: bytes | str, settings: Settings, **options: Any) -> Preview:
    return Previews(settings, [settings.engine]).preview(body, **options)


# --- what is shown -----------------------------------------------------------------------------------


def test_a_preview_shows_what_would_be_sent_with_the_environment_masked() -> None:
    found = preview(a_body(env=[SECRET]), settings_of())

    (document,) = found.documents
    assert document.name == "container.yaml"
    assert f"CHRIS_USER_TOKEN={MASK}" in document.text
    assert (found.engine, found.faults, found.notes) == ("docker", (), ())


def test_a_preview_shows_the_environment_when_asked_to() -> None:
    found = preview(a_body(env=[SECRET]), settings_of(), show_env=True)

    assert SECRET in found.documents[0].text


def test_a_template_set_is_the_sites_the_shipped_one_or_a_directory(tmp_path: Path) -> None:
    site = the_site(tmp_path / "site")
    other = the_site(tmp_path / "other", SCORE.replace("512", "64"))
    previews = Previews(settings_of(PMAN_TEMPLATES=str(site)), ENGINES)

    assert "OomScoreAdj: 512" in previews.preview(a_body()).documents[0].text
    assert "OomScoreAdj" not in previews.preview(a_body(), templates="builtin").documents[0].text
    assert "OomScoreAdj: 64" in previews.preview(a_body(), templates=other).documents[0].text


def test_an_engine_that_told_its_storebase_is_believed() -> None:
    settings = settings_of(STORAGE_TYPE="docker_local_volume", STOREBASE="", VOLUME_NAME="chris")

    asked = preview(a_body(), settings, facts={"storebase": "/var/lib/docker/volumes/chris/_data"})
    unasked = preview(a_body(), settings, unasked="nobody answers")

    assert "/var/lib/docker/volumes/chris/_data/key-chris-jid-42" in asked.documents[0].text
    assert asked.notes == ()
    assert unasked.notes == ("nobody answers; assuming that the storebase is at /storebase",)


# --- other engines -----------------------------------------------------------------------------------


@pytest.mark.parametrize("engine", ENGINES)
def test_a_sites_request_can_be_seen_on_every_engine(engine: str) -> None:
    site = settings_of(STORAGE_TYPE="docker_local_volume", STOREBASE="", VOLUME_NAME="chris", SHM_SIZE="64")

    found = Previews(site, ENGINES).preview(a_body(), engine=engine)

    assert found.faults == ()
    assert found.documents
    assert found.engine == engine


def test_what_another_engine_does_not_take_is_left_out_and_noted() -> None:
    site = settings_of("kubernetes", JOB_NAMESPACE="chris", CONTAINER_USER="1001:1001")

    found = Previews(site, ENGINES).preview(a_body(), engine="docker")

    assert "User: 1001:1001" in found.documents[0].text.replace('"', "")
    assert any(note.startswith("JOB_NAMESPACE='chris'") and "left out" in note for note in found.notes)


def test_a_setting_of_the_sites_own_engine_is_never_left_out() -> None:
    found = preview(a_body(), settings_of(JOB_NAMESPACE="chris"))

    assert [fault.path for fault in found.faults] == ["JOB_NAMESPACE"]
    assert not found.documents


def test_an_unknown_engine_is_a_fault_that_names_the_known_ones() -> None:
    (fault,) = Previews(settings_of(), ENGINES).preview(a_body(), engine="dokcer").faults

    assert fault.path == "CONTAINER_ENV"
    assert "did you mean docker?" in fault.message


def test_settings_of_a_site_survive_the_way_to_its_own_engine_and_back() -> None:
    site = settings_of(JOB_LABELS="a=b,c=d", CONTAINER_USER="1-9:", SHM_SIZE="64", IGNORE_LIMITS="yes")

    elsewhere, _ = assumed.of_engine(site, "podman", ENGINES)
    back, notes = assumed.of_engine(elsewhere, "docker", ENGINES)

    assert (back.values, notes) == (site.values, ())


# --- what is wrong -----------------------------------------------------------------------------------


def test_every_error_of_a_request_is_told_with_its_path() -> None:
    found = preview(a_body(args="--prefix", cpu_limit=-1), settings_of())

    assert {fault.path for fault in found.faults} == {"$.args", "$.cpu_limit"}


def test_an_error_of_a_request_is_told_with_its_line() -> None:
    request = json.loads(a_body(args=["a", 1], cpu_limit=-1))
    del request["image"]
    text = json.dumps(request, indent=2)

    found = {fault.path: fault.line for fault in preview(text, settings_of()).faults}

    assert found == {
        "$.args[1]": text.splitlines().index("    1") + 1,
        "$.cpu_limit": text.splitlines().index('  "cpu_limit": -1,') + 1,
        "$.image": 1,
    }


def test_a_text_that_is_no_json_is_at_fault_at_the_line_where_it_ends_to_be_json() -> None:
    (fault,) = preview('{\n "jid": "a"\n "image": "b"\n}', settings_of()).faults

    assert (fault.path, fault.line) == ("$", 3)


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"\xff", b"null", b'{"a": 1, "a": 2}', b"[" * 100_000])
def test_what_is_no_request_is_a_fault_at_its_root(body: bytes) -> None:
    (fault,) = preview(body, settings_of()).faults

    assert fault.path == "$"
    assert fault.message


def test_a_template_that_does_not_compile_is_a_fault(tmp_path: Path) -> None:
    site = the_site(tmp_path, EXTENDED + "{% block extra %}\n  OomScoreAdj: {{ job.pids }}\n{% endblock %}\n")

    (fault,) = preview(a_body(), settings_of(PMAN_TEMPLATES=str(site))).faults

    assert (fault.file, fault.line) == (str(site / "docker/container.yaml.j2"), 3)
    assert "job.pids" in fault.message


def test_a_directory_that_is_no_template_set_is_a_fault(tmp_path: Path) -> None:
    found = preview(a_body(), settings_of(), templates=tmp_path / "nowhere")

    assert "no such directory" in found.faults[0].message


def test_a_policy_that_forbids_the_job_is_a_fault_with_its_hint(tmp_path: Path) -> None:
    policy = tmp_path / "policy.json"
    policy.write_text(json.dumps({"properties": {"request": {"properties": {"image": {"const": "x"}}}}}))

    found = preview(a_body(), settings_of(PMAN_POLICY=str(policy)))

    assert [fault.path for fault in found.faults] == ["$.request.image"]
    assert "PMAN_POLICY" in found.hint


def test_the_sites_policy_is_for_its_own_templates(tmp_path: Path) -> None:
    policy = tmp_path / "policy.json"
    policy.write_text(json.dumps({"properties": {"documents": {"items": {"required": ["User"]}}}}))
    previews = Previews(settings_of(PMAN_POLICY=str(policy)), ENGINES)

    found = previews.preview(a_body(), templates="builtin")

    assert previews.preview(a_body()).faults
    assert (found.faults, len(found.documents)) == ((), 1)
    assert found.notes == ("PMAN_POLICY is for the site's own templates; left out",)


@pytest.mark.parametrize(
    "line",
    [
        "{{ {}[job.env[0]] }}",
        "{{ job.env[0] | int(base='x') + ({}[job.env[0].partition('=')[2]]) }}",
        "{% if 'sesame' in job.env[0] %}{{ {}[job.env[0]] }}{% endif %}",
    ],
)
def test_no_message_of_a_template_that_fails_shows_a_value_of_the_environment(
    tmp_path: Path, line: str
) -> None:
    probed = "{% block extra %}{% if job.env[0] != 'NAME=value' %}" + line + "{% endif %}{% endblock %}\n"
    settings = settings_of(PMAN_TEMPLATES=str(the_site(tmp_path, EXTENDED + probed)))

    assert "sesame" in str(preview(a_body(env=[SECRET]), settings, show_env=True).faults)
    found = preview(a_body(env=[SECRET]), settings)

    assert found.faults
    assert "sesame" not in str(found)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{{ job.env[0][4:] }}: 1\n  {{ job.env[0][4:] }}: 2", "'S_USER_TOKEN=********' stands twice"),
        ("{{ job.env[0][-4:] }}: 1\n  same: 2", "not shown here"),
        ("A: {{ job.env[0].encode().hex() }}", "cannot show what this makes of a value of env (bytes)"),
        ("{{ job.env[0][-4:] }}: 1\n  {{ job.env[0][-8:-4] }}: 2", "cannot show what this template makes of"),
    ],
)
def test_what_cannot_be_masked_for_sure_is_not_shown_and_the_template_is_named(
    tmp_path: Path, line: str, message: str
) -> None:
    probed = (
        "{% block extra %}{% if job.env[0] != 'NAME=value' %}\n  " + line + "\n{% endif %}{% endblock %}\n"
    )
    site = the_site(tmp_path, EXTENDED + probed)

    (fault,) = preview(
        a_body(env=["CHRIS_USER_TOKEN=open-same"]), settings_of(PMAN_TEMPLATES=str(site))
    ).faults

    assert message in fault.message
    assert fault.file == str(site / "docker/container.yaml.j2")
    assert "same" not in fault.message


# --- what is kept ------------------------------------------------------------------------------------


def test_templates_are_compiled_once_until_a_file_changes(tmp_path: Path) -> None:
    site = the_site(tmp_path)
    previews = Previews(settings_of(PMAN_TEMPLATES=str(site)), ENGINES)

    first, again = previews.translation("docker"), previews.translation("docker")
    the_site(tmp_path, SCORE.replace("512", "4096"))
    changed = previews.translation("docker")

    assert first is again
    assert changed is not first
    found = previews.preview(a_body())
    assert "OomScoreAdj: 4096" in found.documents[0].text
    assert found.notes == (CHANGED,)
    assert CHANGED not in previews.preview(a_body(), templates="builtin").notes


def test_a_template_that_was_mended_is_seen(tmp_path: Path) -> None:
    site = the_site(tmp_path, SCORE.replace("endblock", "endblok"))
    previews = Previews(settings_of(PMAN_TEMPLATES=str(site)), ENGINES)

    broken, again = previews.translation("docker"), previews.translation("docker")
    the_site(tmp_path)

    assert isinstance(broken, PmanError)
    assert broken is again
    assert not previews.preview(a_body()).faults


def test_a_file_that_was_replaced_by_one_of_the_same_size_is_seen(tmp_path: Path) -> None:
    site = the_site(tmp_path)
    previews = Previews(settings_of(PMAN_TEMPLATES=str(site)), ENGINES)
    previews.preview(a_body())

    file = site / "docker/container.yaml.j2"
    file.write_text(SCORE.replace("512", "513"))
    os.utime(file, ns=(0, 1))

    assert "OomScoreAdj: 513" in previews.preview(a_body()).documents[0].text
