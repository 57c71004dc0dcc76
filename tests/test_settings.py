from __future__ import annotations

from pathlib import Path
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pman import settings
from pman.errors import ConfigError
from pman.settings import DECLARED, SETTINGS, Settings, written
from tests.a_job import ENGINES

HOST = {"STORAGE_TYPE": "host", "STOREBASE": "/srv/storebase"}
SLURM = {"CONTAINER_ENV": "slurm", **HOST}


def load(**environ: str) -> Settings:
    return settings.load(environ, ENGINES)


def load_with(dotenv: Path, **environ: str) -> Settings:
    return settings.load(environ, ENGINES, dotenv)


def refused(**environ: str) -> list[str]:
    """The messages, one a fault."""
    with pytest.raises(ConfigError) as caught:
        load(**environ)
    told = [fault.message for fault in caught.value.faults]
    assert str(caught.value) == "; ".join(told)
    assert all(len(line.splitlines()) == 1 for line in told)
    return told


# --- the declaration -------------------------------------------------------------------------------


@pytest.mark.parametrize("name", list(DECLARED))
def test_every_variable_is_declared_with_type_meaning_engines_and_reach(name: str) -> None:
    declared = DECLARED[name]

    assert declared["type"] in ("string", "integer", "boolean", "array", "object")
    assert declared["description"]
    assert set(declared["x-engines"]) <= {"*", *ENGINES}
    for reach in declared["x-reaches"]:
        assert reach in ("pman", "executor") or reach.startswith(("job.", "site."))


@pytest.mark.parametrize("name", [name for name, declared in DECLARED.items() if "default" in declared])
def test_every_default_is_a_value_that_could_be_set(name: str) -> None:
    text = written(name, DECLARED[name]["default"])

    assert load(**{**HOST, name: text}).values[name] == load(**HOST).values[name]


def test_the_variables_of_the_existing_pman_are_all_known() -> None:
    names = (
        "SECRET_KEY CONTAINER_ENV STORAGE_TYPE STOREBASE VOLUME_NAME PFCON_SELECTOR CONTAINER_USER "
        "ENABLE_HOME_WORKAROUND SHM_SIZE JOB_LABELS JOB_LOGS_TAIL IGNORE_LIMITS REMOVE_JOBS JOB_NAMESPACE "
        "NODE_SELECTOR IMAGE_PULL_SECRETS CROMWELL_URL TIMELIMIT_MINUTES DOCKER_HOST DOCKER_TLS_VERIFY "
        "DOCKER_CERT_PATH APPLICATION_MODE PORT"
    )

    assert set(names.split()) <= set(DECLARED)


def test_the_schema_of_the_settings_forbids_nothing_that_it_does_not_explain() -> None:
    for rule in SETTINGS["allOf"]:
        assert "description" in rule["then"]


# --- where values come from ------------------------------------------------------------------------


def test_the_deployment_of_minichris_starts_unchanged() -> None:
    found = load(
        CONTAINER_ENV="docker",
        CONTAINER_USER="1001:",
        ENABLE_HOME_WORKAROUND="yes",
        JOB_LABELS="org.chrisproject.miniChRIS=plugininstance",
        SECRET_KEY="secret",  # noqa: S106  (no secret)
        REMOVE_JOBS="yes",
        PATH="/bin",
    )

    assert found.engine == "docker"
    assert found["STORAGE_TYPE"] == "docker_local_volume"
    assert found["PFCON_SELECTOR"] == "org.chrisproject.role=pfcon"
    assert found["JOB_LABELS"] == {"org.chrisproject.miniChRIS": "plugininstance"}
    assert found["ENABLE_HOME_WORKAROUND"] is True


def test_nothing_set_means_docker_with_the_volume_of_pfcon() -> None:
    assert (load().engine, load()["STORAGE_TYPE"], load()["PORT"]) == ("docker", "docker_local_volume", 5010)


def test_the_environment_comes_before_the_env_file_and_that_before_the_default(tmp_path: Path) -> None:
    file = tmp_path / ".env"
    file.write_text("PORT=1111\nJOB_LOGS_TAIL=7\n# a comment\nJOB_LABELS='a=b,c=d'\n")

    found = load_with(file, PORT="2222")

    assert (found["PORT"], found["JOB_LOGS_TAIL"], found["JOB_LABELS"]) == (2222, 7, {"a": "b", "c": "d"})
    assert {name: found.sources[name] for name in ("PORT", "JOB_LOGS_TAIL", "REMOVE_JOBS")} == {
        "PORT": "environment",
        "JOB_LOGS_TAIL": ".env",
        "REMOVE_JOBS": "default",
    }


def test_an_empty_or_blank_variable_is_one_that_is_not_set(tmp_path: Path) -> None:
    file = tmp_path / ".env"
    file.write_text("PORT=1111\nSHM_SIZE=\n")

    found = load_with(file, PORT="", JOB_LOGS_TAIL="", CONTAINER_ENV="  ", DOCKER_TLS_VERIFY="")

    assert (found["PORT"], found["JOB_LOGS_TAIL"], found.engine, found["SHM_SIZE"]) == (
        1111,
        1000,
        "docker",
        None,
    )
    assert found["DOCKER_TLS_VERIFY"] is None


def test_a_token_of_random_bytes_is_taken() -> None:
    for seed in range(300):
        token = Random(seed).randbytes(32).hex()  # noqa: S311  (of no site)
        assert load(AUTH_TOKEN=token)["AUTH_TOKEN"] == token


def test_no_env_file_is_no_error(tmp_path: Path) -> None:
    assert load_with(tmp_path / ".env")["PORT"] == 5010


@pytest.mark.parametrize("text", ["yes", "true", "on", "1", "y", "t", "YES", " yes "])
def test_a_yes_is_understood_however_it_is_written(text: str) -> None:
    assert load(IGNORE_LIMITS=text)["IGNORE_LIMITS"] is True
    assert load(IGNORE_LIMITS=text).is_set("IGNORE_LIMITS")


@pytest.mark.parametrize("text", ["no", "false", "off", "0", "n", "f", "No"])
def test_a_no_is_understood_however_it_is_written(text: str) -> None:
    assert load(REMOVE_JOBS=text)["REMOVE_JOBS"] is False
    assert not load(IGNORE_LIMITS=text).is_set("IGNORE_LIMITS")


@pytest.mark.parametrize(
    "text", ["1001", "1001:", ":1001", "1001:1002", "1-5:7-9", "0:0", "2000-2000", ":5-6"]
)
def test_a_user_may_lack_either_part_and_either_may_be_a_range(text: str) -> None:
    assert load(CONTAINER_USER=text)["CONTAINER_USER"] == text


def test_lists_are_split_and_a_value_may_hold_an_equals_sign() -> None:
    found = load(PMAN_TEMPLATES="/a:/b", JOB_LABELS=" a=b=c , d=,")

    assert found["PMAN_TEMPLATES"] == ["/a", "/b"]
    assert found["JOB_LABELS"] == {"a": "b=c", "d": ""}


# --- what stops the start --------------------------------------------------------------------------


def test_an_engine_that_is_not_known_is_told_with_the_choices() -> None:
    assert refused(CONTAINER_ENV="foo") == [f"CONTAINER_ENV='foo': use {', '.join(ENGINES)}"]
    assert refused(CONTAINER_ENV="Docker")[0].endswith("(did you mean docker?)")
    assert refused(CONTAINER_ENV="dokcer")[0].endswith("(did you mean docker?)")
    assert refused(CONTAINER_ENV="openshift")


@pytest.mark.parametrize(
    ("environ", "told"),
    [
        ({"STORAGE_TYPE": "host"}, "STOREBASE is not set: STORAGE_TYPE=host needs STOREBASE"),
        ({**HOST, "STOREBASE": "relative/path"}, "STOREBASE='relative/path': absolute path"),
        ({"STORAGE_TYPE": "foo"}, "STORAGE_TYPE='foo': use docker_local_volume, host"),
        ({"STORAGE_TYPE": "kubernetes_pvc", "VOLUME_NAME": "a"}, "STORAGE_TYPE='kubernetes_pvc'"),
        ({"STOREBASE": "/srv"}, "STOREBASE='/srv': STOREBASE goes with STORAGE_TYPE=host only"),
        ({**HOST, "VOLUME_NAME": "a"}, "VOLUME_NAME='a': STORAGE_TYPE=host takes STOREBASE"),
        ({"CONTAINER_ENV": "kubernetes", "STORAGE_TYPE": "kubernetes_pvc"}, "VOLUME_NAME is not set"),
        ({"CONTAINER_ENV": "cromwell", **HOST}, "CROMWELL_URL is not set"),
        ({"CONTAINER_ENV": "cromwell", **HOST, "CROMWELL_URL": "a:80"}, "CROMWELL_URL='a:80': address of"),
        (SLURM, "SLURMRESTD_URL is not set: SLURM_MODE=rest needs SLURMRESTD_URL"),
        ({**SLURM, "SLURMRESTD_URL": "http://a", "SLURM_JWT": "b", "SLURM_JWT_FILE": "/c"},
         "SLURM_JWT='********': SLURM_JWT_FILE takes its place"),
        ({"CONTAINER_USER": "abc"}, "CONTAINER_USER='abc': UID:GID"),
        ({"CONTAINER_USER": "1:2:3"}, "CONTAINER_USER='1:2:3': UID:GID"),
        ({"CONTAINER_USER": "9-5"}, "CONTAINER_USER='9-5': the range 9-5 is empty"),
        ({"CONTAINER_USER": "-5"}, "CONTAINER_USER='-5': UID:GID"),
        ({"CONTAINER_USER": "1-"}, "CONTAINER_USER='1-': UID:GID"),
        ({"CONTAINER_USER": "٣"}, "CONTAINER_USER='٣'"),
        ({"CONTAINER_USER": "4294967295"}, "CONTAINER_USER='4294967295': 4294967295 is no user or group"),
        ({"JOB_LOGS_TAIL": "abc"}, "JOB_LOGS_TAIL='abc': use a whole number"),
        ({"JOB_LOGS_TAIL": "-1"}, "JOB_LOGS_TAIL='-1': how many lines"),
        ({"JOB_LOGS_BYTES": "10"}, "JOB_LOGS_BYTES='10': how many bytes"),
        ({"SHM_SIZE": "abc"}, "SHM_SIZE='abc': use a whole number"),
        ({"SHM_SIZE": "1.5"}, "SHM_SIZE='1.5': use a whole number"),
        ({"SHM_SIZE": "0"}, "SHM_SIZE='0': size of /dev/shm in MiB"),
        ({"IGNORE_LIMITS": "maybe"}, "IGNORE_LIMITS='maybe': use yes or no"),
        ({"JOB_LABELS": "junk"}, "JOB_LABELS='junk': 'junk' is not KEY=VALUE; use KEY=VALUE,KEY=VALUE"),
        ({"JOB_LABELS": "a=b,=c"}, "JOB_LABELS='a=b,=c': '=c' is not KEY=VALUE"),
        ({"APPLICATION_MODE": "debug"}, "APPLICATION_MODE='debug': "),
        ({"PORT": "70000"}, "PORT='70000': TCP port"),
        ({"PORT": "9" * 30}, "use a whole number"),
        ({"ENGINE_TIMEOUT": "0"}, "ENGINE_TIMEOUT='0': seconds"),
        ({"CONTAINER_ENV": "local", **HOST, "LOCAL_STATE": "relative"}, "LOCAL_STATE='relative': directory"),
    ],
)  # fmt: skip
def test_what_cannot_work_is_told_in_one_line_with_name_value_and_what_is_allowed(
    environ: dict[str, str], told: str
) -> None:
    (line,) = refused(**environ)

    assert told in line


def test_the_choices_of_the_engine_are_told_where_it_takes_fewer() -> None:
    (line,) = refused(STORAGE_TYPE="kubernetes_pvc", VOLUME_NAME="a")

    assert "use docker_local_volume, host" in line


def test_everything_that_is_wrong_is_told_at_once() -> None:
    told = refused(CONTAINER_ENV="docker", JOB_LABELS="junk", PORT="x", STORAGE_TYPE="host", SHM_SIZE="0")

    assert sorted(line.partition("=")[0].partition(" ")[0] for line in told) == [
        "JOB_LABELS",
        "PORT",
        "SHM_SIZE",
        "STOREBASE",
    ]


def test_what_is_wrong_beside_an_unknown_engine_is_told_too() -> None:
    assert len(refused(CONTAINER_ENV="foo", PORT="x")) == 2


def test_a_secret_is_never_shown() -> None:
    assert load(SECRET_KEY="hidden").shown("SECRET_KEY") == "********"  # noqa: S106  (no secret)
    assert load().shown("SECRET_KEY") == ""


@pytest.mark.parametrize(
    ("name", "text", "shown"),
    [
        ("REMOVE_JOBS", "false", "no"),
        ("JOB_LABELS", " a=b, c=d", "a=b,c=d"),
        ("PMAN_TEMPLATES", "/a:/b", "/a:/b"),
        ("PORT", "0080", "80"),
        ("VOLUME_NAME", "", ""),
    ],
)
def test_a_value_is_shown_as_it_would_be_written(name: str, text: str, shown: str) -> None:
    assert load(**{name: text}).shown(name) == shown


@given(st.dictionaries(st.sampled_from(list(DECLARED)), st.text(max_size=20)))
def test_whatever_the_variables_hold_there_are_settings_or_one_line_for_each_fault(
    environ: dict[str, str],
) -> None:
    try:
        load(**environ)
    except ConfigError as error:
        assert error.faults
        assert all(len(fault.message.splitlines()) == 1 for fault in error.faults)
