from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pman.errors import ConfigError
from pman.job import AUID_LABEL, DIGEST_LABEL, JID_LABEL
from pman.settings import DECLARED
from pman.translation.request import PROPERTIES
from pman.translation.variables import honours, job_variables, site_variables, unread_fields
from tests.a_job import a_job, a_translation, settings_of

REACHED_BY_TEMPLATES = [
    name
    for name, declared in DECLARED.items()
    if any(reach.startswith(("job.", "site.")) for reach in declared["x-reaches"])
]


def test_the_variables_of_a_job_are_those_of_its_request() -> None:
    job = a_job(entrypoint=("a", "b"), args=("c",), env=("D=e",), cpu_limit=500, memory_limit=64, gpu_limit=2)

    found = job_variables(job, settings_of())

    assert found["argv"] == ["a", "b", "c"]
    assert (found["cpu_limit"], found["memory_limit"], found["gpu_limit"]) == (500, 64, 2)
    assert found["env"] == ["D=e"]
    assert (found["uid"], found["gid"]) == (None, None)


def test_every_variable_that_a_field_or_a_setting_reaches_exists() -> None:
    job, site = job_variables(a_job(), settings_of()), site_variables(settings_of(), {"storebase": "/srv"})
    known = {*(f"job.{name}" for name in job), *(f"site.{name}" for name in site)}

    for declared in (*PROPERTIES.values(), *DECLARED.values()):
        assert set(declared["x-reaches"]) <= known | {"pman", "executor"}


def test_limits_are_dropped_where_the_site_ignores_them_but_not_gpus() -> None:
    found = job_variables(a_job(gpu_limit=1), settings_of(IGNORE_LIMITS="yes"))

    assert (found["cpu_limit"], found["memory_limit"], found["gpu_limit"]) == (0, 0, 1)


def test_the_home_workaround_leaves_one_home() -> None:
    job = a_job(env=("HOME=/root", "A=b", "HOMEPAGE=c"))

    assert job_variables(job, settings_of(ENABLE_HOME_WORKAROUND="yes"))["env"] == [
        "A=b",
        "HOMEPAGE=c",
        "HOME=/tmp",
    ]
    assert job_variables(job, settings_of())["env"] == ["HOME=/root", "A=b", "HOMEPAGE=c"]


@pytest.mark.parametrize(
    ("text", "user"),
    [
        ("1001", (1001, None)),
        ("1001:", (1001, None)),
        (":1002", (None, 1002)),
        ("1001:1002", (1001, 1002)),
        ("0:0", (0, 0)),
    ],
)  # fmt: skip
def test_either_part_of_a_user_may_be_missing(text: str, user: tuple[int | None, int | None]) -> None:
    found = job_variables(a_job(), settings_of(CONTAINER_USER=text))

    assert (found["uid"], found["gid"]) == user


@given(st.text(min_size=1), st.integers(0, 2000), st.integers(0, 2000))
def test_a_range_gives_a_job_the_same_user_at_every_rendering(jid: str, low: int, more: int) -> None:
    given = settings_of(CONTAINER_USER=f"{low}-{low + more}:{low}-{low + more}")

    first, again = (job_variables(a_job(jid=jid), given) for _ in range(2))

    assert (first["uid"], first["gid"]) == (again["uid"], again["gid"])
    assert low <= first["uid"] <= low + more
    assert low <= first["gid"] <= low + more


def test_a_range_gives_different_jobs_different_users() -> None:
    given = settings_of(CONTAINER_USER="1000-9999")

    assert len({job_variables(a_job(jid=f"job-{number}"), given)["uid"] for number in range(50)}) > 40


def test_the_sites_labels_stand_beside_pmans_and_never_replace_them() -> None:
    job = a_job()
    labels = job_variables(job, settings_of(JOB_LABELS="a=b"))["labels"]

    assert labels == {"a": "b", JID_LABEL: job.jid, DIGEST_LABEL: job.digest, AUID_LABEL: "rudolph"}


@pytest.mark.parametrize("engine", ["docker", "kubernetes", "local", "podman", "swarm"])
@pytest.mark.parametrize("name", [JID_LABEL, DIGEST_LABEL, "org.chrisproject.pman.reason"])
def test_a_label_of_pmans_own_stops_the_start(engine: str, name: str) -> None:
    with pytest.raises(ConfigError, match=r"JOB_LABELS=.*are pman's own"):
        settings_of(engine, JOB_LABELS=f"a=b,{name}=other")


def test_what_an_engine_told_at_start_is_part_of_the_site() -> None:
    told = {"storebase": "/mnt", "seen": "/", "native": {"a": 1}, "documents": {}, "more": 2}
    found = site_variables(settings_of(SHM_SIZE="64"), told)

    assert (found["storebase"], found["shm_size"], found["more"]) == ("/mnt", 64, 2)
    assert not {"native", "seen", "documents"} & found.keys()


@pytest.mark.parametrize("name", [name for name in PROPERTIES if name not in ("jid", "auid", "type")])
def test_a_field_that_is_set_and_that_no_template_read_is_named(name: str) -> None:
    job = a_job(number_of_workers=2, gpu_limit=1, env=("A=b",))
    variables = job_variables(job, settings_of())
    everything = {reach for declared in PROPERTIES.values() for reach in declared["x-reaches"]}

    found = unread_fields(variables, frozenset(everything - set(PROPERTIES[name]["x-reaches"])))

    assert f"$.{name}" in [fault.path for fault in found]


def test_a_field_that_asks_for_nothing_may_go_unread() -> None:
    job = a_job(number_of_workers=1, gpu_limit=0, cpu_limit=0, memory_limit=0, env=(), args=())

    found = unread_fields(
        job_variables(job, settings_of()), frozenset({"job.labels", "job.image", "job.argv"})
    )

    assert [fault.path for fault in found] == ["$.input_dir", "$.output_dir"]


@pytest.mark.parametrize("engine", ["docker", "podman"])
@pytest.mark.parametrize("name", REACHED_BY_TEMPLATES)
def test_the_engines_that_a_setting_names_are_those_whose_templates_read_it(engine: str, name: str) -> None:
    declared = DECLARED[name]["x-engines"]

    assert honours(engine, DECLARED[name], a_translation(engine).read_by_templates) is (
        "*" in declared or engine in declared
    )


@pytest.mark.parametrize("name", [name for name in DECLARED if name not in REACHED_BY_TEMPLATES])
def test_what_reaches_no_template_is_honoured_by_the_engines_that_it_names(name: str) -> None:
    for engine in ("docker", "kubernetes"):
        expected = bool({"*", engine} & set(DECLARED[name]["x-engines"]))
        assert honours(engine, DECLARED[name], frozenset()) is expected
