"""What is Cromwell's own: its documents, and the rules over its metadata."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pman.errors import BadRequest, ConfigError, EngineRefused
from pman.translation.translation import PROBE
from tests import states
from tests.a_job import FACTS, a_body, a_job, a_translation, settings_of, shipped_rules
from tests.cromwell_reading import runtime_of

HERE = Path(__file__).parents[1]

URL = {"CROMWELL_URL": "http://a"}

SITE = {
    **URL,
    "CONTAINER_USER": "1001:1002",
    "ENABLE_HOME_WORKAROUND": "yes",
    "SHM_SIZE": "64",
    "JOB_LABELS": "org.chrisproject.miniChRIS=plugininstance",
    "NODE_SELECTOR": "partition=short,constraint=gpu&rack1",
    "TIMELIMIT_MINUTES": "90",
}
"""The configuration of the golden documents."""

GOLDEN = [
    "ds-simpledsapp",
    "ds-gpu-lungct",
    "ds-shell-metacharacters",
    "ds-json-in-an-argument",
    "fs-dircopy",
]


STARTED, NOT_STARTED = "started", "notstarted"
SUCCESS, FAILURE = "finishedSuccessfully", "finishedWithError"


def rendered(job: Any, **settings: str) -> dict[str, Any]:
    return {
        item.name: item
        for item in a_translation("cromwell", **{**URL, **settings}).render(job, FACTS)
    }  # fmt: skip


def attributes(job: Any, **settings: str) -> dict[str, Any]:
    return runtime_of(rendered(job, **settings)["workflow.wdl"].text)


# --- documents -------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", GOLDEN)
def test_a_realistic_request_becomes_the_golden_documents(name: str, request: pytest.FixtureRequest) -> None:
    translation = a_translation("cromwell", **SITE)

    documents = translation.render(
        translation.parse((HERE / "requests" / f"{name}.json").read_bytes()), FACTS
    )

    for document in documents:
        golden = HERE / "golden" / "cromwell" / f"{name}.{document.name}"
        if request.config.getoption("--update-golden", default=False):
            golden.parent.mkdir(parents=True, exist_ok=True)
            golden.write_text(document.text, "utf-8", newline="")
        assert document.text == golden.read_bytes().decode()


def test_no_golden_document_is_left_over() -> None:
    found = {file.name.partition(".")[0] for file in (HERE / "golden" / "cromwell").iterdir()}
    assert found == set(GOLDEN)


def test_what_is_rendered_passes_miniwdls_own_check_without_a_warning(tmp_path: Path) -> None:
    for index, (job, site) in enumerate([(PROBE, SITE), (PROBE, URL), (a_job(), SITE), (a_job(), URL)]):
        file = tmp_path / f"{index}.wdl"
        file.write_text(rendered(job, **site)["workflow.wdl"].text)
    done = subprocess.run(
        # The keys that it does not know are those of the server's configuration.
        [sys.executable, "-m", "WDL", "check", "--strict", "--suppress", "UnknownRuntimeKey",
         *map(str, tmp_path.iterdir())],
        capture_output=True, text=True, check=False,
    )  # fmt: skip

    assert done.returncode == 0, done.stdout + done.stderr


def test_everything_that_a_job_can_ask_for_is_honoured() -> None:
    rendered(PROBE)


def test_limits_are_converted_and_left_out_where_there_are_none() -> None:
    limited = attributes(a_job(cpu_limit=1500, memory_limit=200, gpu_limit=2), TIMELIMIT_MINUTES="7")
    unlimited = attributes(a_job(), IGNORE_LIMITS="yes")

    assert (limited["cpu"], limited["millicores"], limited["memory"]) == (2, 1500, "200 MiB")
    assert (limited["gpu_limit"], limited["timelimit"]) == (2, 7)
    assert unlimited["cpu"] == 1
    assert not {"millicores", "memory", "gpu_limit", "timelimit", "shm_size"} & set(unlimited)


@pytest.mark.parametrize(
    ("user", "told"),
    [("1:2", {"docker_user": "1:2"}), ("1:", {"docker_user": "1"}), (":2", {"docker_group": "2"}), ("", {})],
)
def test_the_user_has_his_primary_group_and_a_group_alone_is_added(user: str, told: dict[str, str]) -> None:
    found = attributes(a_job(), CONTAINER_USER=user)

    assert {name: found[name] for name in found if name.startswith("docker_")} == told


def test_the_root_may_be_the_storebase() -> None:
    documents = a_translation("cromwell", **URL).render(a_job(), {**FACTS, "storebase": "/"})
    (wdl,) = [each.text for each in documents if each.name == "workflow.wdl"]

    assert runtime_of(wdl)["storebase"] == "/"


def test_a_job_is_never_taken_from_the_cache_of_another_one() -> None:
    options = json.loads(rendered(a_job())["options.json"].text)

    assert (options["read_from_cache"], options["write_to_cache"]) == (False, False)


def test_every_option_that_cromwell_does_not_know_is_a_text() -> None:
    options = json.loads(rendered(PROBE, **SITE)["options.json"].text)

    assert {type(value) for name, value in options.items() if name.startswith("org.")} == {str}


@pytest.mark.parametrize(
    ("selector", "told"),
    [("partition=a", {"slurm_partition": "a"}), ("constraint=a&b", {"slurm_constraint": "a&b"}),
     ("partition=a,constraint=b", {"slurm_partition": "a", "slurm_constraint": "b"}), ("", {})],
)  # fmt: skip
def test_a_partition_and_a_constraint_select_nodes(selector: str, told: dict[str, str]) -> None:
    found = attributes(a_job(), NODE_SELECTOR=selector)

    assert {name: found[name] for name in found if name.startswith("slurm_")} == told


PASTED = ["a b", "a'b", 'a"b', "a$b", "a`b", "a\\b", "a;b", "a\nb", "é", "a(b", "a*b", "a|b", "a&b"]


@pytest.mark.parametrize("text", [*PASTED, "a:b", "a,b"])
def test_a_directory_that_could_not_be_pasted_into_a_script_is_refused(text: str) -> None:
    with pytest.raises(BadRequest) as refused:
        a_translation("cromwell", **URL).parse(a_body(input_dir=text, output_dir=text))

    assert [fault.path for fault in refused.value.faults] == ["$.input_dir", "$.output_dir"]


def test_an_image_with_brackets_is_refused() -> None:
    with pytest.raises(BadRequest, match="image: "):
        a_translation("cromwell", **URL).parse(a_body(image="[::1]:5000/a/b"))


@pytest.mark.parametrize("name", ["a b", "1A", "é", "PPID", "UID", "__pman_nl", "a-b"])
def test_a_variable_that_no_shell_can_export_is_refused(name: str) -> None:
    with pytest.raises(BadRequest, match="env"):
        a_translation("cromwell", **URL).parse(a_body(env=[f"{name}=a"]))


@pytest.mark.parametrize("text", PASTED)
def test_a_storebase_that_could_not_be_pasted_stops_the_start(text: str) -> None:
    with pytest.raises(ConfigError, match=r"^STOREBASE="):
        settings_of("cromwell", **URL, STOREBASE=f"/{text}")


@pytest.mark.parametrize(
    "selector",
    ["disk=ssd", "partition=a b", "partition=a;b", "constraint=a'b", "constraint=$a", "partition="],
)
def test_a_selector_that_slurm_does_not_know_or_that_could_not_be_pasted_stops_the_start(
    selector: str,
) -> None:
    with pytest.raises(ConfigError, match=r"^NODE_SELECTOR="):
        settings_of("cromwell", **URL, NODE_SELECTOR=selector)


@pytest.mark.parametrize("labels", ["a:b=c", f"{'a' * 256}=b", f"a={'b' * 256}"])
def test_a_label_that_cromwell_does_not_take_stops_the_start(labels: str) -> None:
    with pytest.raises(ConfigError, match=r"^JOB_LABELS="):
        settings_of("cromwell", **URL, JOB_LABELS=labels)


def test_a_user_of_the_platform_whose_name_is_no_label_is_refused() -> None:
    assert a_translation("cromwell", **URL).parse(a_body(auid="é" * 255)).auid
    with pytest.raises(BadRequest, match="auid: "):
        a_translation("cromwell", **URL).parse(a_body(auid="x" * 256))


# --- rules -----------------------------------------------------------------------------------------

ROWS: list[tuple[str, str, int | None, str]] = [
    ("not-told-of", NOT_STARTED, None, "taken by Cromwell, which does not tell of it yet"),
    ("submitted", NOT_STARTED, None, "waiting for Cromwell to take it up"),
    ("on-hold", NOT_STARTED, None, "on hold in Cromwell"),
    ("no-call", NOT_STARTED, None, "being prepared by Cromwell"),
    ("starting", NOT_STARTED, None, "being prepared by Cromwell"),
    ("queued", NOT_STARTED, None, "queued in Cromwell"),
    ("waiting-for-space", NOT_STARTED, None, "queued in Cromwell"),
    ("running", STARTED, None, "running, or queued in SLURM as job "),
    ("no-return-code-yet", STARTED, None, "SLURM has ended it; Cromwell waits for its return code"),
    ("retryable", STARTED, None, "failed, and about to be tried again"),
    ("done-but-running", STARTED, None, "ending"),
    ("aborting", STARTED, None, "being ended"),
    ("unheard-of", STARTED, None, "Cromwell calls the workflow Hibernating, which pman does not know"),
    ("succeeded", SUCCESS, 0, "finished"),
    ("workers-succeeded", SUCCESS, 0, "finished"),
    ("aborted", FAILURE, None, "cancelled"),
    ("aborted-before-it-began", FAILURE, None, "cancelled"),
    ("ended-for-a-reason", FAILURE, None, "a reason of the site's"),
    ("failed-3", FAILURE, 3, "failed with exit code 3"),
    ("linked", FAILURE, 78, "not run: input_dir or output_dir leads elsewhere by a link"),
    ("failed-126", FAILURE, 126, "exit code 126, a program could not be executed"),
    ("failed-127", FAILURE, 127, "exit code 127, a program was not found"),
    ("failed-139", FAILURE, 139, "killed by SIGSEGV (exit code 139)"),
    ("killed", FAILURE, 137, "killed by SIGKILL (exit code 137)"),
    ("killed-in-podman", FAILURE, 137, "killed (exit code 137), most likely for using more than 200 MiB"),
    ("killed-out-of-sight", FAILURE, None, "killed, or ended by SLURM, most likely for using more than 200"),
    ("out-of-memory", FAILURE, 137, "out of memory, killed for using more than 16 MiB of memory (exit"),
    ("out-of-memory-in-slurm", FAILURE, 137, "out of memory, killed for using more than 200 MiB of memory"),
    ("time-limit", FAILURE, None, "time limit of 1 minutes exceeded"),
    ("time-limit-of-the-partition", FAILURE, 143, "time limit of its partition exceeded"),
    ("preempted", FAILURE, 143, "ended by SLURM: preempted by another job"),
    ("node-failed", FAILURE, 143, "ended by SLURM: its node failed"),
    ("cancelled-in-slurm", FAILURE, None, "cancelled in SLURM, job "),
    ("no-return-code", FAILURE, None, "ended by SLURM without an exit code, most likely for its memory"),
    ("no-such-image", FAILURE, 125, "the image localhost:1/pman/no-such-image:1 could not be pulled: "),
    ("no-such-user-of-docker", FAILURE, 125, "the container could not be started: "),
    ("no-gpu-for-a-container", FAILURE, 125, "the node could not give the container a gpu: "),
    ("no-gpu-in-slurm", FAILURE, None, "SLURM has no node with 1000 gpus: "),
    ("no-such-partition", FAILURE, None, "SLURM does not know the partition, or does not let the job into"),
    ("no-such-constraint", FAILURE, None, "no node of SLURM has what the constraint asks for: "),
    ("too-much-for-slurm", FAILURE, None, "SLURM did not take the job: "),
    ("no-wdl", FAILURE, None, "Cromwell could not run the workflow: "),
    ("failed-without-a-word", FAILURE, None, "failed: Cromwell tells no reason"),
    ("real-notstarted", NOT_STARTED, None, "waiting for Cromwell to take it up"),
    ("real-queued", NOT_STARTED, None, "queued in Cromwell"),
    ("real-running", STARTED, None, "running, or queued in SLURM as job 1866268"),
    ("real-done", SUCCESS, 0, "finished"),
    ("real-failed", FAILURE, 1, "failed with exit code 1"),
]  # fmt: skip


@pytest.mark.parametrize(("state", "status", "code", "told"), ROWS)
def test_each_state_of_a_workflow_becomes_a_status_and_a_message(
    state: str, status: str, code: int | None, told: str
) -> None:
    info = shipped_rules("cromwell").read("a-jid", states.native("cromwell", state))

    assert (info.status, info.exit_code) == (status, code)
    assert info.message.startswith(told)
    assert info.timestamp.startswith("20") == (status != NOT_STARTED)
    if not state.startswith("real-"):  # those were submitted by another pman
        assert info.image
        assert info.cmd
        assert len(info.digest) == 64


def test_every_recorded_state_has_its_row() -> None:
    assert sorted(row[0] for row in ROWS) == states.recorded("cromwell")


def test_every_rule_decides_for_some_state() -> None:
    decided = {
        shipped_rules("cromwell").read("a-jid", states.native("cromwell", row[0])).message for row in ROWS
    }

    for rule in shipped_rules("cromwell")._states.rules:
        pattern = re.sub(r"\\{\\{.*?\\}\\}|\\{%.*?%\\}", ".*", re.escape(rule.source["message"]))
        assert any(re.fullmatch(pattern, message, re.DOTALL) for message in decided), rule.source["message"]


WORKFLOWS = ("On Hold", "Submitted", "Running", "Aborting", "Aborted", "Succeeded", "Failed", "Unheard of")
CALLS = ("NotStarted", "WaitingForQueueSpace", "QueuedInCromwell", "Starting", "Running", "RetryableFailure",
         "Failed", "Aborted", "Done", "Bypassed", "Unstartable", "Unheard of", None)  # fmt: skip


@given(
    st.sampled_from(WORKFLOWS), st.lists(st.sampled_from(CALLS), max_size=2), st.none() | st.integers(0, 255),
    st.sampled_from([None, {}, {"slurm": "", "submit": "", "rc": 1, "directory": "/a"}, {"directory": "/a"}]),
)  # fmt: skip
def test_a_job_ends_when_its_workflow_does_and_is_never_undefined(
    word: str, executed: list[str | None], code: int | None, files: Any
) -> None:
    calls = [{"executionStatus": found, "returnCode": code} for found in executed]
    metadata = {"id": "a", "status": word, "calls": {"a.b": calls} if calls else None, "end": None}

    info = shipped_rules("cromwell").read(
        "a-jid", {"metadata": metadata, "known": True, "causes": [], "files": files}
    )

    assert info.status != "undefined"
    assert info.ended == (word in ("Aborted", "Succeeded", "Failed"))
    assert (info.status == SUCCESS) == (word == "Succeeded")
    assert info.message


@pytest.mark.parametrize(
    ("status", "told", "answer"),
    [(400, "Error(s): Invalid", 502), (401, "who are you", 502), (413, "too large", 400)],
)
def test_a_refusal_keeps_cromwells_words_and_adds_pmans(status: int, told: str, answer: int) -> None:
    refused = shipped_rules("cromwell").refusal(EngineRefused("submit", status, told))

    assert refused.status == answer
    assert str(refused).endswith(told)
    assert not str(refused).startswith(told)


@pytest.mark.parametrize(("version", "told"), [("74-a", "needs 75 or newer"), ("75-a", ""), ("develop", "")])
def test_a_cromwell_that_does_not_take_ids_stops_the_start(version: str, told: str) -> None:
    release = re.match("[0-9]+", version)
    native = {"version": version, "release": int(release[0]) if release else None}
    if not told:
        shipped_rules("cromwell").check(native, {})
    else:
        with pytest.raises(ConfigError, match=told):
            shipped_rules("cromwell").check(native, {})
