from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from pman.errors import ConfigError, EngineRefused, EngineUnreachable
from pman.resources import TEMPLATES
from pman.translation.render import loader
from pman.translation.rules import Rules, compiled
from tests import states
from tests.a_job import a_job, shipped_rules, site_templates

ENGINES = ("docker", "podman")

# What the executor says of a job whose image is not there yet, or never came (it makes these itself).
PULLING = {
    "Config": {"Image": "localhost/a:1", "Cmd": ["b"], "Entrypoint": ["a"], "Labels": {}},
    "HostConfig": {},
    "State": {"Status": "pulling", "Error": "", "FinishedAt": ""},
}
UNPULLED = {
    **PULLING,
    "State": {"Status": "unpulled", "Error": "manifest unknown", "FinishedAt": "2026-01-01T00:00:00Z"},
}
REFUSED = {
    **PULLING,
    "State": {"Status": "refused", "Error": "no space left on device", "FinishedAt": "2026-01-01T00:00:00Z"},
}
ENDED = {
    **PULLING,
    "State": {"Status": "ended", "Error": "no longer wanted", "FinishedAt": "2026-01-01T00:00:00Z"},
}

STARTED, NOT_STARTED = "started", "notstarted"
SUCCESS, FAILURE = "finishedSuccessfully", "finishedWithError"

COMMON = [
    ("created", NOT_STARTED, "waiting to be started"),
    ("running", STARTED, "running"),
    ("paused", STARTED, "paused"),
    ("exited-0", SUCCESS, "finished"),
    ("exited-3", FAILURE, "failed with exit code 3"),
    ("exited-126", FAILURE, "exit code 126, a program could not be executed"),
    ("exited-127", FAILURE, "exit code 127, a program was not found"),
    ("exited-139", FAILURE, "killed by SIGSEGV (exit code 139)"),
    ("exited-143", FAILURE, "killed by SIGTERM (exit code 143)"),
    ("exited-255", FAILURE, "failed with exit code 255"),
    ("start-failed-not-found", FAILURE, "the program no-such-program was not found in the image: "),
    ("start-failed-not-executable", FAILURE, "the program /etc/passwd may not be executed: "),
    ("start-failed-no-such-user", FAILURE, "the container could not be started: unable to find user"),
    ("removing", STARTED, "being removed"),
    ("unheard-of", STARTED, "the engine calls the container hibernating, which pman does not know"),
]

ROWS = [
    *(("docker", *row) for row in COMMON),
    ("docker", "restarting", STARTED, "restarting"),
    ("docker", "exited-137", FAILURE, "killed by SIGKILL (exit code 137)"),
    ("docker", "out-of-memory", FAILURE, "out of memory, killed for using more than 16 MiB of memory (exit"),
    ("docker", "out-of-memory-exit-0", SUCCESS, "finished, but one of its processes was killed"),
    ("docker", "start-failed-link", FAILURE, "a directory of the job is missing, or a link led it out"),
    ("docker", "start-failed-too-long", FAILURE, "the command line and environment are too long: "),
    ("docker", "dead", FAILURE, "the engine could not remove the container completely"),
    *(("podman", *row) for row in COMMON),
    ("podman", "configured", NOT_STARTED, "waiting to be started"),
    ("podman", "initialized", NOT_STARTED, "waiting to be started"),
    ("podman", "stopping", STARTED, "stopping"),
    ("podman", "start-failed-linked-out", FAILURE, "a directory of the request is not in the storebase"),
    ("podman", "start-failed-crun", FAILURE, "the program true was not found in the image: crun: "),
    ("podman", "stopped-0", SUCCESS, "finished"),
    ("podman", "stopped-3", FAILURE, "failed with exit code 3"),
    ("podman", "exited-137", FAILURE, "killed (exit code 137), most likely for using more than 200 MiB"),
    ("podman", "out-of-memory", FAILURE, "killed (exit code 137), most likely for using more than 16 MiB"),
    ("podman", "out-of-memory-exit-0", SUCCESS, "finished"),
]  # fmt: skip


@pytest.mark.parametrize(("engine", "state", "status", "told"), ROWS)
def test_each_state_that_an_engine_knows_becomes_a_status_and_a_message(
    engine: str, state: str, status: str, told: str
) -> None:
    info = shipped_rules(engine).read("a-jid", states.native(engine, state))

    assert info.status == status
    assert info.message.startswith(told)


@pytest.mark.parametrize("engine", ENGINES)
def test_every_recorded_state_has_its_row(engine: str) -> None:
    assert {row[1] for row in ROWS if row[0] == engine} == set(states.recorded(engine)) - {"unknown"}


def test_a_state_that_the_engine_itself_does_not_know_is_no_answer() -> None:
    with pytest.raises(EngineUnreachable, match="does not know the state"):
        shipped_rules("podman").read("a-jid", states.native("podman", "unknown"))


@pytest.mark.parametrize(("engine", "state", "status", "_"), ROWS)
def test_the_other_fields_are_those_of_the_job(engine: str, state: str, status: str, _: str) -> None:
    native = states.native(engine, state)

    info = shipped_rules(engine).read("a-jid", native)

    assert info.jid == "a-jid"
    assert info.image == "localhost/pman-test:1"
    assert info.cmd.startswith(native["Config"]["Entrypoint"][0])
    assert info.cmd.endswith("/share/outgoing") or "/share" not in info.cmd
    assert len(info.digest) == 64
    ends = native["State"]["Status"] in ("exited", "stopped", "dead")
    expected = native["State"]["FinishedAt" if ends else "StartedAt"]
    assert info.timestamp == ("" if expected.startswith("0001") else expected)


@pytest.mark.parametrize(
    "state", [state for engine, state, status, _ in ROWS if status == FAILURE and engine == "docker"]
)
def test_a_failure_never_hides_its_exit_code_or_error(state: str) -> None:
    native = states.native("docker", state)

    message = shipped_rules("docker").read("a-jid", native).message

    if state != "dead":
        assert str(native["State"]["Error"] or native["State"]["ExitCode"]) in message


@pytest.mark.parametrize("engine", ENGINES)
def test_an_image_that_is_being_pulled_or_could_not_be_is_told(engine: str) -> None:
    pulling = shipped_rules(engine).read("a-jid", PULLING)
    unpulled = shipped_rules(engine).read("a-jid", UNPULLED)

    assert (pulling.status, pulling.message) == (NOT_STARTED, "pulling the image localhost/a:1")
    assert (unpulled.status, unpulled.timestamp) == (FAILURE, "2026-01-01T00:00:00Z")
    assert unpulled.message == "the image localhost/a:1 could not be pulled: manifest unknown"
    assert unpulled.cmd == "a b"
    refused = shipped_rules(engine).read("a-jid", REFUSED)
    assert (refused.status, refused.timestamp) == (FAILURE, "2026-01-01T00:00:00Z")
    assert refused.message == "the engine refused the container: no space left on device"
    assert refused.hint == "free space on the engine's host"

    ended = shipped_rules(engine).read("a-jid", ENDED)
    assert (ended.status, ended.message) == (FAILURE, "no longer wanted")


def test_the_command_is_one_line_that_a_shell_reads_back() -> None:
    native = {**PULLING, "Config": {**PULLING["Config"], "Cmd": ["a b", "", "it's"], "Labels": None}}  # type: ignore[dict-item]  # of a literal

    assert shipped_rules("docker").read("a-jid", native).cmd == "a 'a b' '' 'it'\"'\"'s'"


def test_a_container_without_command_or_labels_is_no_error() -> None:
    native = {"Config": {"Cmd": None, "Entrypoint": None, "Labels": None}, "State": {"Status": "running"}}

    info = shipped_rules("docker").read("a-jid", native)

    assert (info.cmd, info.image, info.digest, info.timestamp) == ("", "", "", "")


@given(st.sampled_from(ENGINES), st.text(), st.integers(0, 255), st.booleans(), st.text())
def test_no_word_but_those_of_an_ended_container_finishes_a_job(
    engine: str, word: str, code: int, oom: bool, error: str
) -> None:
    state = {"Status": word, "ExitCode": code, "OOMKilled": oom, "Error": error}

    info = shipped_rules(engine).read(
        "a-jid", {"State": state, "Config": {}, "HostConfig": {"Memory": 2**20}}
    )

    if info.ended:
        assert word in ("exited", "stopped", "dead", "created", "unpulled")


@given(st.integers(0, 255), st.booleans())
def test_an_ended_container_is_finished_by_its_exit_code(code: int, oom: bool) -> None:
    native = states.native("docker", "exited-0")
    native["State"] |= {"ExitCode": code, "OOMKilled": oom}

    info = shipped_rules("docker").read("a-jid", native)

    assert info.status == (FAILURE if code else SUCCESS)
    assert str(code) in info.message or not code
    assert ("memory" in info.message + info.hint) or not oom


# --- the time limit ----------------------------------------------------------------------------------


def limited(engine: str, state: str, minutes: object, **changes: object) -> dict[str, Any]:
    """A recorded state, had the job been submitted with a time limit."""
    native = states.native(engine, state)
    native["Config"]["Labels"]["org.chrisproject.pman.timelimit-minutes"] = str(minutes)
    native["State"] |= changes
    return native


def ago(seconds: float) -> str:
    """As an engine tells it, with nanoseconds."""
    moment = datetime.now(UTC) - timedelta(seconds=seconds)
    return f"{moment.isoformat(timespec='microseconds').removesuffix('+00:00')}123Z"


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("state", ["running", "paused"])
def test_a_job_that_runs_beyond_its_time_limit_is_overdue_and_not_ended_yet(engine: str, state: str) -> None:
    late = shipped_rules(engine).read("a-jid", limited(engine, state, 2, StartedAt=ago(125)))
    early = shipped_rules(engine).read("a-jid", limited(engine, state, 2, StartedAt=ago(115)))
    unlimited = shipped_rules(engine).read("a-jid", states.native(engine, state))

    assert (late.status, late.overdue) == (STARTED, True)
    assert late.message == "being ended at its time limit of 2 minutes"
    assert (early.overdue, unlimited.overdue) == (False, False)
    assert early.message == unlimited.message == state
    assert shipped_rules(engine).calls_overdue


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize(
    ("ran", "changes", "told"),
    [
        (121, {}, "ended at its time limit of 2 minutes (exit code 137)"),
        (119, {}, "killed"),
        (121, {"ExitCode": 3}, "failed with exit code 3"),
        (121, {"ExitCode": 0}, "finished"),
    ],
)
def test_a_job_that_was_killed_at_its_time_limit_says_so(
    engine: str, ran: float, changes: Mapping[str, object], told: str
) -> None:
    native = limited(engine, "exited-137", 2, StartedAt=ago(ran), FinishedAt=ago(0), **changes)

    assert shipped_rules(engine).read("a-jid", native).message.startswith(told)


def test_a_job_that_was_out_of_memory_says_so_however_long_it_ran() -> None:
    native = limited("docker", "out-of-memory", 2, StartedAt=ago(500), FinishedAt=ago(0))

    assert shipped_rules("docker").read("a-jid", native).message.startswith("out of memory")


# --- every rule is there for something -------------------------------------------------------------


def first_that_holds(engine: str, natives: list[Mapping[str, Any]]) -> set[int]:
    """The rules that decide, by number, among those of the engine's file with what it extends."""
    rules = shipped_rules(engine)

    decided = [rules._states.rule(**rules._variables(native)) for native in natives]
    return {rules._states.rules.index(rule) for rule in decided if rule}


@pytest.mark.parametrize("engine", ENGINES)
def test_every_rule_decides_for_some_state_that_was_seen(engine: str) -> None:
    natives = [states.native(name, state) for name in ENGINES for state in states.recorded(name)]

    reached = first_that_holds(engine, [*natives, PULLING, UNPULLED, REFUSED, ENDED])

    unlimited = states.native("podman", "exited-137")
    unlimited["HostConfig"]["Memory"] = 0
    overdue = limited(engine, "running", 1, StartedAt=ago(61))
    ended = limited(engine, "exited-137", 1, StartedAt=ago(61), FinishedAt=ago(0))
    reached |= first_that_holds(engine, [unlimited, overdue, ended])
    told = [rule.source["message"] for rule in shipped_rules(engine)._states.rules]
    unreached = [told[index] for index in sorted(set(range(len(told))) - reached)]
    # Podman's own rule for exit code 137 comes before these two of Docker's.
    shadowed = [] if engine == "docker" else ["out of memory", "killed by SIGKILL"]
    assert len(unreached) == len(shadowed)
    assert all(map(str.startswith, unreached, shadowed))


REFUSALS = [
    ("docker", "mount", 409, "the job a may write to /b", 409, "could be exchanged for another one"),
    ("docker", "mount", 400, "'a' is, or lies behind, a symbolic link", 400, "cannot be mounted"),
    ("docker", "mount", 403, "the engine does not show 'a' in the storebase", 502, "cannot be looked at"),
    ("docker", "start", 400, "path concatenation escapes the base directory, base: /v", 400, "a link"),
    ("docker", "start", 404, "cannot access path /v/a: no such file or directory", 400, "does not"),
    ("docker", "start", 500, "error while mounting volume '/v': no such file", 502, "cannot mount"),
    ("docker", "start", 400, 'exec: "no": executable file not found in $PATH: unknown', 201, ""),
    ("docker", "start", 400, 'exec: "/etc/passwd": permission denied: unknown', 201, ""),
    ("docker", "start", 500, "fork/exec /bin/true: argument list too long", 201, ""),
    ("docker", "start", 404, "stat /no: no such file or directory", 201, ""),
    ("docker", "start", 500, "could not select device driver", 400, "no GPU"),
    ("docker", "pull", 404, "pull access denied for a", 502, "does not exist"),
    ("docker", "pull", 500, "unauthorized: authentication", 502, "does not exist"),
    ("docker", "pull", 404, "manifest for a:1 not found: manifest unknown", 502, "was not found"),
    ("docker", "pull", 500, "dial tcp: lookup registry on 1.1.1.1: no such host", 502, "could not be pulled"),
    ("docker", "create", 500, "write /var/lib/docker: no space left on device", 502, "no space left"),
    ("docker", "create", 400, "invalid: bind source path does not exist", 400, "does not exist in the"),
    ("docker", "create", 400, "Minimum memory limit allowed is 6MB", 400, "does not accept"),
    ("docker", "create", 403, "authorization denied by plugin", 502, "does not permit"),
    ("docker", "create", 500, "something else", 502, "the engine refused"),
    ("podman", "create", 500, "unable to set memory limit: invalid argument", 400, "does not accept"),
    ("podman", "create", 500, "bind source path does not exist", 400, "does not exist in the storebase"),
    ("podman", "create", 500, "statfs /srv/a: no such file or directory", 400, "or is a link that leads"),
    ("podman", "start", 500, "no such file or directory", 400, "or is a link that leads"),
    ("podman", "start", 500, 'subpath "a" is outside of the volume "/srv"', 400, "or is a link that leads"),
    ("podman", "start", 500, "securejoin.OpenInRoot a: openat2 /srv/a: no such file", 400, "or is a link"),
    ("podman", "start", 500, "permission denied", 400, "or is a link that leads"),
    ("podman", "start", 500, "crun: executable file `x` not found in $PATH: No such file", 201, ""),
    ("podman", "start", 500, "crun: open executable: Permission denied: OCI permission denied", 201, ""),
]  # fmt: skip


@pytest.mark.parametrize(("engine", "call", "status", "words", "answer", "told"), REFUSALS)
def test_a_refusal_keeps_the_engines_words_and_adds_pmans(
    engine: str, call: str, status: int, words: str, answer: int, told: str
) -> None:
    refused = shipped_rules(engine).refusal(EngineRefused(call, status, words))

    assert refused.status == answer
    assert str(refused).endswith(words)
    assert told in str(refused)


@pytest.mark.parametrize("engine", ENGINES)
def test_every_refusal_rule_decides_for_some_words(engine: str) -> None:
    rules = shipped_rules(engine)._refusals

    natives = [EngineRefused(*row[1:4]).native for row in REFUSALS]
    decided = [rules.rule(native=native) for native in natives]

    assert {rules.rules.index(rule) for rule in decided if rule} == set(range(len(rules.rules)))


SITE = {"ignore_limits": False}
ROOTED = {"MemoryLimit": True, "CpuCfsQuota": True, "ApiVersion": "1.41"}


@pytest.mark.parametrize(
    ("native", "site", "told"),
    [
        (ROOTED, SITE, ""),
        ({**ROOTED, "MemoryLimit": False}, SITE, "this engine cannot limit memory"),
        ({**ROOTED, "CpuCfsQuota": False}, SITE, "this engine cannot limit cpu"),
        ({"SecurityOptions": ["name=rootless"]}, SITE, "cannot limit cpu and memory, since it is rootless"),
        ({}, {"ignore_limits": True}, ""),
        ({**ROOTED, "ApiVersion": "1.39"}, SITE, "the engine speaks API 1.39; 1.40 (Docker 19.03)"),
        ({**ROOTED, "ApiVersion": "1.100"}, SITE, ""),
        ({"ApiVersion": "1.24"}, SITE, "cannot limit cpu and memory; the engine speaks API 1.24"),
    ],
)  # fmt: skip
def test_an_engine_that_cannot_honour_the_configuration_stops_the_start(
    native: dict[str, Any], site: dict[str, Any], told: str
) -> None:
    if not told:
        shipped_rules("docker").check(native, site)
    else:
        with pytest.raises(ConfigError) as caught:
            shipped_rules("docker").check(native, site)
        assert told in str(caught.value)


def test_what_would_help_a_rootless_engine_is_said() -> None:
    with pytest.raises(ConfigError) as caught:
        shipped_rules("podman").check({"SecurityOptions": ["rootless"]}, SITE)

    assert "IGNORE_LIMITS=yes" in caught.value.hint


# --- a site's state.yaml ---------------------------------------------------------------------------

EXTENDS = "extends: builtin/docker/state.yaml\n"


def site_rules(directory: Path, text: str) -> Rules:
    return Rules("docker", loader(site_templates(directory, {"docker/state.yaml": text})))


def test_a_sites_rules_come_first_and_the_shipped_ones_remain(tmp_path: Path) -> None:
    rules = site_rules(
        tmp_path,
        EXTENDS
        + "rules: [{when: native.State.ExitCode == 3, status: finishedSuccessfully, message: 3 is fine}]",
    )

    assert rules.read("a", states.native("docker", "exited-3")).message == "3 is fine"
    assert rules.read("a", states.native("docker", "exited-0")).message == "finished"
    assert rules.read("a", states.native("docker", "exited-3")).image == "localhost/pman-test:1"


def test_rules_may_extend_a_file_in_a_folder_that_is_a_link(tmp_path: Path) -> None:
    texts = {"mounted/state.yaml": EXTENDS, "site/docker/state.yaml": "extends: shared/state.yaml\n"}
    site_templates(tmp_path, texts)
    (tmp_path / "site/shared").symlink_to(tmp_path / "mounted", target_is_directory=True)

    assert (
        Rules("docker", loader(tmp_path / "site")).written["fields"]
        == shipped_rules("docker").written["fields"]
    )


def test_a_sites_field_replaces_the_shipped_one(tmp_path: Path) -> None:
    rules = site_rules(tmp_path, EXTENDS + "fields: {image: native.Image}")

    assert rules.read("a", states.native("docker", "exited-0")).image.startswith("sha256:")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", r"\$: null"),
        ("[]", r"\$: \[\]"),
        ("rule: []", r"rule \(did you mean rules\?\) is not known"),
        (": [", "no YAML"),
        ("extends: docker/state.yaml", r"extends itself; the shipped one is builtin/docker/state\.yaml"),
        ("extends: nowhere.yaml", r"templates/nowhere\.yaml, which .*extends, does not exist"),
        ("rules: [{status: startd, message: a}]", r"\$\.rules\[0\]\.status: .*did you mean started\?"),
        ("rules: [{status: started}]", r"\$\.rules\[0\]\.message: missing"),
        ("rules: [{status: started, message: a, wen: b}]", r"\$\.rules\[0\]: wen \(did you mean when\?\)"),
        ("rules: [{when: true, status: started, message: a}]", r"\$\.rules\[0\]\.when"),
        ("refusals: [{answer: 418, message: a}]", r"\$\.refusals\[0\]\.answer: 418"),
        (EXTENDS + "rules: [{when: nativ, status: started, message: a}]", r"rules\[0\]: nativ is not known"),
        (EXTENDS + "rules: [{when: native., status: started, message: a}]", r"rules\[0\]: 'native\.'"),
        (EXTENDS + "rules: [{when: 'a %} {% else', status: started, message: a}]", r"rules\[0\]"),
        (EXTENDS + "rules: [{when: 'native }} {{ native', status: started, message: a}]", r"rules\[0\]"),
        (EXTENDS + "rules: [{status: started, message: 'a {{ b'}]", r"rules\[0\]: 'a \{\{ b'"),
        (EXTENDS + "rules: [{status: started, message: '{{ job.jid }}'}]", r"rules\[0\]: job is not known"),
        (EXTENDS + "fields: {argv: native.}", r"fields"),
        (EXTENDS + "values: {a: b, b: '1'}", r"values: a: b is not known; use native, time_limit, timed_out"),
        (EXTENDS + "values: {a: native.}", r"values: a"),
        (EXTENDS + "values: {A: '1'}", r"\$\.values"),
        (EXTENDS + "rules: [{status: started, message: '{{ site.x }}'}]", r"rules\[0\]: site is not known"),
        (EXTENDS + "checks: [{when: nativ, message: a}]", r"checks\[0\]: nativ is not known"),
    ],
)  # fmt: skip
def test_a_broken_state_yaml_stops_the_start_and_names_file_and_rule(
    tmp_path: Path, text: str, told: str
) -> None:
    with pytest.raises(ConfigError, match=told) as caught:
        site_rules(tmp_path, text)

    assert "docker/state.yaml" in str(caught.value)


@pytest.mark.parametrize(
    "rule",
    [
        "{when: native.State.ExitCode + 'a' == 1, status: started, message: a}",
        "{when: 1 / 0, status: started, message: a}",
        "{status: started, message: '{{ native.No // 2 }}'}",
    ],
)
def test_a_rule_that_fails_for_a_state_names_its_file(tmp_path: Path, rule: str) -> None:
    rules = site_rules(tmp_path, f"{EXTENDS}rules: [{rule}]")

    with pytest.raises(
        ConfigError, match=r"templates/docker/state\.yaml: a rule fails for the state of a-jid"
    ):
        rules.read("a-jid", states.native("docker", "exited-0"))


@pytest.mark.parametrize(
    "condition", ["native.No > 3", "native.No.More <= 3", "native.No == 3", "'a' in native.No"]
)
def test_a_field_that_the_engine_left_out_is_neither_more_nor_less_than_anything(
    tmp_path: Path, condition: str
) -> None:
    rules = site_rules(tmp_path, f'{EXTENDS}rules: [{{when: "{condition}", status: started, message: a}}]')

    assert rules.read("a", states.native("docker", "exited-0")).status == SUCCESS


def test_a_state_without_any_rule_is_started_and_says_which_file_lacks_it(tmp_path: Path) -> None:
    info = site_rules(tmp_path, "rules: []").read("a", {})

    assert (info.status, info.message) == (
        STARTED,
        "templates/docker/state.yaml has no rule for this state",
    )


def test_the_words_of_an_engine_are_text_and_no_template() -> None:
    native = states.native("docker", "start-failed-no-such-user")
    native["State"]["Error"] = "{{ 7 * 7 }} {% raw %} <b>"

    assert shipped_rules("docker").read("a", native).message.endswith("{{ 7 * 7 }} {% raw %} <b>")


@pytest.mark.parametrize(
    "file", sorted(TEMPLATES.glob("*/state.yaml")), ids=lambda file: str(file.parent.name)
)
def test_every_message_and_hint_of_a_shipped_rule_is_one_line(file: Path) -> None:
    data = yaml.safe_load(file.read_text("utf-8"))

    for kind in ("rules", "refusals", "checks"):
        for rule in data.get(kind, ()):
            assert len(json.dumps([rule["message"], rule.get("hint", "")]).split("\\n")) == 1


def test_an_answer_has_the_fields_of_v1_and_then_the_new_ones() -> None:
    info = shipped_rules("docker").read("a-jid", states.native("docker", "exited-0"))

    v1 = ["jid", "image", "cmd", "status", "message", "timestamp", "logs"]
    assert list(info.answer("log")) == [*v1, "exit_code", "hint"]


@pytest.mark.parametrize(
    ("state", "code"),
    [("exited-0", 0), ("exited-3", 3), ("exited-143", 143), ("running", None), ("created", None)],
)
@pytest.mark.parametrize("engine", ENGINES)
def test_the_exit_code_is_told_once_there_is_one(engine: str, state: str, code: int | None) -> None:
    assert shipped_rules(engine).read("a-jid", states.native(engine, state)).exit_code == code


def test_a_job_made_by_a_request_is_told_by_its_digest() -> None:
    job = a_job()
    native = states.native("docker", "running")
    native["Config"]["Labels"]["org.chrisproject.pman.digest"] = job.digest

    assert shipped_rules("docker").read(job.jid, native).digest == job.digest


# --- names, time and what is overdue ---------------------------------------------------------------

VALUES = """
values:
  codes: native.tasks | map(attribute='code') | select('defined') | list
  failed: codes | select | list
fields:
  exit_code: failed[0]
rules:
  - when: failed
    status: finishedWithError
    message: "{{ failed | length }} of {{ codes | length }} failed"
  - status: started
    message: "{{ codes }}"
"""


def test_a_name_for_a_value_serves_later_names_rules_messages_and_fields(tmp_path: Path) -> None:
    rules = site_rules(tmp_path, VALUES)

    info = rules.read("a", {"tasks": [{"code": 0}, {}, {"code": 3}, {"code": 0}]})

    assert (info.status, info.message, info.exit_code) == (FAILURE, "1 of 3 failed", 3)
    assert rules.read("a", {}).message == "[]"


def test_a_sites_name_replaces_the_shipped_one_and_those_after_it_see_it(tmp_path: Path) -> None:
    files = {
        "first/state.yaml": VALUES,
        "docker/state.yaml": "extends: first/state.yaml\nvalues: {codes: '[7]'}",
    }
    rules = Rules("docker", loader(site_templates(tmp_path, files)))

    assert rules.read("a", {}).message == "1 of 1 failed"


def test_only_a_rule_that_says_so_calls_a_job_overdue(tmp_path: Path) -> None:
    text = """
rules:
  - when: seconds_since(native.at) > 60
    status: started
    message: too long
    overdue: true
  - status: started
    message: running
"""
    rules = site_rules(tmp_path, text)

    assert rules.calls_overdue
    assert rules.read("a", {"at": "2020-01-01T00:00:00Z"}).overdue
    assert not rules.read("a", {"at": datetime.now(UTC).isoformat()}).overdue
    assert not rules.read("a", {}).overdue
    assert not site_rules(tmp_path, "rules: []").calls_overdue


@pytest.mark.parametrize(
    ("earlier", "later", "seconds"),
    [
        ("2026-11-22T12:00:00Z", "2026-11-22T12:01:00.5Z", 60.5),
        ("2026-11-22T12:00:00.123456789Z", "2026-11-22T12:00:01.123456789Z", 1),
        ("2026-11-22T12:00:00", "2026-11-22T14:00:00+02:00", 0),
        ("2026-11-22T12:00:00+01:00", "2026-11-22T12:00:00Z", 3600),
        ("", "2026-11-22T12:00:00Z", 0),
        ("0001-01-01T00:00:00Z", "2026-11-22T12:00:00Z", 0),
    ],
)
def test_seconds_pass_between_timestamps_as_engines_write_them(
    tmp_path: Path, earlier: str, later: str, seconds: float
) -> None:
    rules = site_rules(
        tmp_path, "rules: [{status: started, message: '{{ seconds_between(native.a, native.b) }}'}]"
    )

    assert float(rules.read("j", {"a": earlier, "b": later}).message) == seconds


def test_whatever_a_sites_rule_fails_with_is_told_with_its_name(tmp_path: Path) -> None:
    text = "rules:\n  - {when: \"'{0}'.format() == 'x'\", status: started, message: a}\n"
    rules = Rules("docker", loader(site_templates(tmp_path, {"docker/state.yaml": text})))

    with pytest.raises(ConfigError, match=r"templates/docker/state\.yaml: a rule fails for the state of a"):
        rules.read("a", PULLING)
    with pytest.raises(ConfigError, match="the rule fails for this state"):
        list(rules.tried(PULLING))


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("1: 2\n", r"1 is not known; use extends, "),
        ("values: {1: 'true'}\n", r"\$\.values: "),
        ("values: &all {a: *all}\n", r"it holds itself, by an alias"),
        ("rules: []\nfields: {}\nrules: []\n", r"'rules' stands twice; YAML drops the first"),
        ("rules: [2026-01-01]\n", r"\$\.rules\[0\]: "),
    ],
)
def test_what_only_yaml_has_is_told_as_any_other_mistake(tmp_path: Path, text: str, told: str) -> None:
    with pytest.raises(ConfigError, match=rf"docker/state\.yaml, line \d: .*{told}"):
        Rules("docker", loader(site_templates(tmp_path, {"docker/state.yaml": text})))


def test_rules_are_compiled_once_for_the_same_files_and_anew_once_one_is_written(tmp_path: Path) -> None:
    site = site_templates(tmp_path, {"docker/state.yaml": EXTENDS})
    first = compiled("docker", loader(site))

    again = compiled("docker", loader(site))
    (site / "docker/state.yaml").write_text(f"{EXTENDS}rules: [{{status: started, message: changed}}]")
    changed = compiled("docker", loader(site))

    assert again is first
    assert changed.read("a", PULLING).message == "changed"
    assert first.read("a", PULLING).message == "pulling the image localhost/a:1"
