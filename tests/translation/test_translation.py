from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from pman.errors import BadRequest, ConfigError
from pman.job import Job
from pman.settings import MASK
from pman.translation.translation import PROBE, Translation
from tests import states
from tests.a_job import FACTS, a_body, a_job, a_request, a_translation, content, settings_of, site_templates

HERE = Path(__file__).parents[1]
REQUESTS = sorted((HERE / "requests").glob("*.json"))
ENGINES = ["docker", "podman"]

SITE = {
    "CONTAINER_USER": "1001:1002",
    "ENABLE_HOME_WORKAROUND": "yes",
    "SHM_SIZE": "64",
    "JOB_LABELS": "org.chrisproject.miniChRIS=plugininstance",
}
"""The configuration of the golden documents."""


def refused(translation: Translation, job: Job) -> BadRequest:
    with pytest.raises(BadRequest) as caught:
        translation.render(job, FACTS)
    return caught.value


# --- golden documents ------------------------------------------------------------------------------


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("file", REQUESTS, ids=lambda file: str(file.stem))
def test_a_realistic_request_becomes_the_golden_document(
    engine: str, file: Path, request: pytest.FixtureRequest
) -> None:
    golden = HERE / "golden" / engine / f"{file.stem}.yaml"

    text = becomes(a_translation(engine, **SITE), file.read_bytes())

    if request.config.getoption("--update-golden", default=False):
        golden.parent.mkdir(parents=True, exist_ok=True)
        golden.write_text(text, "utf-8")
    assert text == golden.read_text("utf-8")


def becomes(translation: Translation, body: bytes) -> str:
    """The rendered text, or what the request is refused for."""
    try:
        (document,) = translation.render(translation.parse(body), FACTS)
    except BadRequest as error:
        return "".join(f"# 400: {fault.path}: {fault.message}\n" for fault in error.faults)
    return document.text


@pytest.mark.parametrize("engine", ENGINES)
def test_no_golden_document_is_left_over(engine: str) -> None:
    assert {file.stem for file in (HERE / "golden" / engine).iterdir()} == {file.stem for file in REQUESTS}


# --- what Docker gets ------------------------------------------------------------------------------


def test_units_are_converted_to_those_of_the_engine() -> None:
    found = content(a_translation(SHM_SIZE="100"), a_job(cpu_limit=1500, memory_limit=200))["HostConfig"]

    assert found["NanoCpus"] == 1_500_000_000
    assert found["Memory"] == found["MemorySwap"] == 200 * 2**20
    assert found["ShmSize"] == 104_857_600


def test_without_limits_there_are_none() -> None:
    for translation, job in (
        (a_translation(IGNORE_LIMITS="yes"), a_job()),
        (a_translation(), a_job(cpu_limit=0, memory_limit=0)),
    ):
        found = content(translation, job)["HostConfig"]
        assert (found["NanoCpus"], found["Memory"], found["MemorySwap"]) == (0, 0, 0)


@pytest.mark.parametrize(
    ("user", "user_of_container", "group"),
    [
        ("1001:1002", "1001:1002", None),
        ("1001:", "1001", None),
        ("0:0", "0:0", None),
        (":1002", None, ["1002"]),
    ],
)
def test_the_user_has_his_primary_group_and_a_group_alone_is_added(
    user: str, user_of_container: str | None, group: list[str] | None
) -> None:
    found = content(a_translation(CONTAINER_USER=user), a_job())

    assert found.get("User") == user_of_container
    assert found["HostConfig"].get("GroupAdd") == group


def test_without_a_user_the_images_own_stays() -> None:
    found = content(a_translation(), a_job())

    assert "User" not in found
    assert "GroupAdd" not in found["HostConfig"]


def test_the_entrypoint_of_the_request_replaces_that_of_the_image() -> None:
    found = content(a_translation(), a_job(entrypoint=("a", "b"), args=("c",)))

    assert (found["Entrypoint"], found["Cmd"]) == (["a", "b"], ["c"])


def test_the_input_is_mounted_read_only_and_colons_are_no_separators() -> None:
    found = content(a_translation(), a_job(input_dir="a:b/c", output_dir="a:b/c"))["HostConfig"]["Mounts"]

    assert found == [
        {"Type": "bind", "Source": "/srv/storebase/a:b/c", "Target": "/share/incoming", "ReadOnly": True},
        {"Type": "bind", "Source": "/srv/storebase/a:b/c", "Target": "/share/outgoing"},
    ]


def test_a_container_gets_no_new_privileges_and_few_capabilities() -> None:
    found = content(a_translation(), a_job())["HostConfig"]

    assert found["SecurityOpt"] == ["no-new-privileges"]
    assert found["CapDrop"] == ["ALL"]
    assert not {"SYS_ADMIN", "NET_RAW", "SYS_PTRACE", "MKNOD"} & set(found["CapAdd"])
    assert "Privileged" not in found


def test_gpus_are_asked_for_as_devices() -> None:
    assert content(a_translation(), a_job(gpu_limit=2))["HostConfig"]["DeviceRequests"] == [
        {"Count": 2, "Capabilities": [["gpu"]]}
    ]
    assert "DeviceRequests" not in content(a_translation(), a_job(gpu_limit=0))["HostConfig"]


def test_rendering_twice_gives_the_same_to_the_letter() -> None:
    job = a_job(env=("A=b",))

    assert a_translation(**SITE).render(job, FACTS) == a_translation(**SITE).render(job, FACTS)


def test_everything_a_job_can_ask_for_is_honoured_by_docker_but_more_workers() -> None:
    faults = refused(a_translation(), PROBE).faults

    assert [fault.path for fault in faults] == ["$.number_of_workers"]


# --- coverage --------------------------------------------------------------------------------------

WITHOUT_MEMORY = (
    '{% extends "builtin/docker/container.yaml.j2" %}\n'
    "{% block resources %}  NanoCpus: {{ job.cpu_limit * 10**6 }}\n{% endblock %}\n"
)


def test_a_limit_that_a_sites_template_drops_is_refused_by_name(tmp_path: Path) -> None:
    site_templates(tmp_path, {"docker/container.yaml.j2": WITHOUT_MEMORY})
    translation = a_translation(PMAN_TEMPLATES=str(tmp_path))

    error = refused(translation, a_job(memory_limit=200))

    assert error.status == 400
    assert str(error) == "memory_limit: 200: the templates of this engine do not honour it"
    assert "Memory" not in content(translation, a_job(memory_limit=0))["HostConfig"]


def test_gpus_are_refused_by_podman_by_name_even_past_the_schema() -> None:
    error = refused(a_translation("podman"), a_job(gpu_limit=1))

    assert [fault.path for fault in error.faults] == ["$.gpu_limit"]


def test_a_variable_of_the_environment_that_no_template_reads_is_refused_without_its_value(
    tmp_path: Path,
) -> None:
    text = '{% extends "builtin/docker/container.yaml.j2" %}{% block environment %}{% endblock %}'
    site_templates(tmp_path, {"docker/container.yaml.j2": text})

    error = refused(a_translation(PMAN_TEMPLATES=str(tmp_path)), a_job(env=("TOKEN=hidden",)))

    assert [fault.path for fault in error.faults] == ["$.env"]
    assert "hidden" not in str(error)


def test_a_setting_that_no_template_reads_stops_the_start_by_name(tmp_path: Path) -> None:
    text = '{% extends "builtin/docker/container.yaml.j2" %}{% block shm %}{% endblock %}'
    site_templates(tmp_path, {"docker/container.yaml.j2": text})

    with pytest.raises(
        ConfigError, match=r"^SHM_SIZE='64': CONTAINER_ENV=docker does not honour it; unset it$"
    ):
        a_translation(PMAN_TEMPLATES=str(tmp_path), SHM_SIZE="64")
    a_translation(PMAN_TEMPLATES=str(tmp_path))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("NODE_SELECTOR", "a=b"),
        ("IMAGE_PULL_SECRETS", "a"),
        ("JOB_NAMESPACE", "a"),
    ],
)
@pytest.mark.parametrize("engine", ENGINES)
def test_a_setting_of_another_engine_stops_the_start_by_name(engine: str, name: str, value: str) -> None:
    with pytest.raises(ConfigError, match=f"^{name}='{value}': CONTAINER_ENV={engine} does not honour it"):
        a_translation(engine, **{name: value})


def test_an_address_of_another_engine_stops_nothing() -> None:
    a_translation("docker", CONTAINER_HOST="unix:///run/podman.sock", CROMWELL_URL="http://a")


def test_a_site_may_honour_what_the_shipped_templates_do_not(tmp_path: Path) -> None:
    text = (
        '{% extends "builtin/docker/container.yaml.j2" %}\n'
        "{% block extra %}  Annotations: {{ site.node_selector }}\n{% endblock %}\n"
    )
    site_templates(tmp_path, {"docker/container.yaml.j2": text})

    translation = a_translation(PMAN_TEMPLATES=str(tmp_path), NODE_SELECTOR="disk=ssd")

    assert content(translation, a_job())["HostConfig"]["Annotations"] == {"disk": "ssd"}


@pytest.mark.parametrize("engine", ["docker", "podman"])
def test_the_time_limit_of_the_site_is_kept_with_the_container(engine: str) -> None:
    name = "labels" if engine == "podman" else "Labels"
    limited = content(a_translation(engine, TIMELIMIT_MINUTES="90"), a_job())[name]
    unlimited = content(a_translation(engine), a_job())[name]

    assert limited.pop("org.chrisproject.pman.timelimit-minutes") == "90"
    assert limited == unlimited


# --- a site's templates and rules ------------------------------------------------------------------


def test_a_directory_of_templates_that_is_not_there_stops_the_start() -> None:
    with pytest.raises(ConfigError, match=r"^PMAN_TEMPLATES='/no/such': no such directory$"):
        a_translation(PMAN_TEMPLATES="/no/such")


def test_a_broken_template_of_the_site_stops_the_start(tmp_path: Path) -> None:
    text = (
        '{% extends "builtin/docker/container.yaml.j2" %}\n'
        "{% block gpu %}  A: {{ job.memroy_limit }}\n{% endblock %}"
    )
    site_templates(tmp_path, {"docker/container.yaml.j2": text})

    with pytest.raises(
        ConfigError, match=r"docker/container\.yaml\.j2, line 2: job\.memroy_limit .*job\.memory_limit"
    ):
        a_translation(PMAN_TEMPLATES=str(tmp_path))


def test_of_two_directories_the_first_wins_for_templates_and_for_rules(tmp_path: Path) -> None:
    extends = '{% extends "builtin/docker/container.yaml.j2" %}'
    for name in ("first", "second"):
        files = {
            "docker/container.yaml.j2": f"{extends}{{% block extra %}}  From: {name}\n{{% endblock %}}",
            "docker/state.yaml": "extends: builtin/docker/state.yaml\n"
            f"rules: [{{when: native.State.ExitCode == 3, status: finishedSuccessfully, message: {name}}}]",
        }
        site_templates(tmp_path / name, files)

    translation = a_translation(
        PMAN_TEMPLATES=os.pathsep.join(str(tmp_path / name) for name in ("first", "second"))
    )

    assert content(translation, a_job())["HostConfig"]["From"] == "first"
    assert translation.rules.read("a", states.native("docker", "exited-3")).message == "first"


def test_a_sites_change_for_docker_does_not_reach_podman(tmp_path: Path) -> None:
    text = '{% extends "builtin/docker/container.yaml.j2" %}{% block extra %}  OomScoreAdj: 9\n{% endblock %}'
    site_templates(tmp_path, {"docker/container.yaml.j2": text})

    assert "OomScoreAdj" not in str(content(a_translation("podman", PMAN_TEMPLATES=str(tmp_path)), a_job()))


# --- what a dry run shows --------------------------------------------------------------------------

hidden = st.text(min_size=8, max_size=30).map(lambda text: f"hidden {text}")


@pytest.mark.parametrize("engine", ENGINES)
@given(values=st.lists(hidden, min_size=1, max_size=3))
@hypothesis_settings(max_examples=20)
def test_a_dry_run_shows_the_names_and_masks_the_values_of_the_environment(
    engine: str, values: list[str]
) -> None:
    job = a_job(env=tuple(f"NAME_{index}={value}" for index, value in enumerate(values)))

    (document,) = a_translation(engine).show(job, FACTS)

    found: Any = document.content
    env = [f"{name}={value}" for name, value in found["env"].items()] if "env" in found else found["Env"]
    assert env == [f"NAME_{index}={MASK}" for index in range(len(values))]
    assert "hidden" not in document.text


def test_but_for_the_values_a_dry_run_shows_what_is_submitted() -> None:
    translation, job = a_translation(**SITE), a_job(env=("A=b",))

    (shown,), (sent,) = translation.show(job, FACTS), translation.render(job, FACTS)

    assert shown.text.replace(MASK, "b", 1) == sent.text.replace("HOME=/tmp", f"HOME={MASK}")


def test_a_dry_run_refuses_what_a_submission_would() -> None:
    with pytest.raises(BadRequest, match="number_of_workers"):
        a_translation().show(a_job(number_of_workers=2), FACTS)


# --- from the body to the document -----------------------------------------------------------------


def test_a_body_goes_all_the_way_to_a_document_without_any_engine() -> None:
    translation = a_translation()

    found = content(translation, translation.parse(a_body()))

    assert found["Cmd"] == ["--prefix", "le", "/share/incoming", "/share/outgoing"]


@given(st.lists(st.text(st.characters(exclude_characters="\0", codec="utf-8")), max_size=5))
@hypothesis_settings(max_examples=50)
def test_any_argument_of_a_request_reaches_the_document_as_the_text_it_was(args: list[str]) -> None:
    translation = a_translation()
    body = json.dumps(a_request(args=args, type="ts"))

    assert content(translation, translation.parse(body))["Cmd"] == [*args, "/share/outgoing"]


def test_what_is_assumed_of_an_engine_that_is_not_asked_is_its_storebase() -> None:
    assert a_translation().assumed_facts() == {"storebase": "/srv/storebase"}


def test_rules_that_may_leave_a_state_without_one_stop_the_start(tmp_path: Path) -> None:
    rule = "rules:\n- {when: native.State.OOMKilled, status: finishedWithError, message: oom}\n"
    site = site_templates(tmp_path, {"docker/state.yaml": rule})

    with pytest.raises(ConfigError, match=r"docker/state\.yaml, line 2: a state may have no rule"):
        Translation(settings_of(PMAN_TEMPLATES=str(site)))
