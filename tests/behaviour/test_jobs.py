"""What every engine does with a job; run unchanged against each."""

from __future__ import annotations

import concurrent.futures
import contextlib
import re
import signal
import time
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import requests

from pman.settings import engine_schema, properties
from tests import engines
from tests.live import Live, Server, TimeLimited, ended, live, until

KILLED_AFTER = (0.001, 0.01, 0.03, 0.08, 0.15, 0.3)
"""Seconds from the sending of a submission to the end of the pman that has it."""


@pytest.fixture(scope="module")
def second(shared: Live) -> Iterator[Live]:
    """Another pman on the engine, that tests may kill, with settings that change what becomes of a job."""
    settings = {"APPLICATION_MODE": "development", "ENABLE_HOME_WORKAROUND": "yes", "IGNORE_LIMITS": "yes",
                "REMOVE_JOBS": "no"}  # fmt: skip
    with live(shared.engine, shared.storebase, **settings) as running:
        yield running
        shared.submitted += running.submitted  # this one removes nothing


@pytest.fixture(params=[*engines.NAMES, *engines.VARIANTS])
def limited(request: pytest.FixtureRequest, time_limited: TimeLimited) -> tuple[Live, str]:
    """A pman with a time limit of a minute, and the name of a job that would run longer."""
    return time_limited.job(engines.need(request.param))


def test_a_job_reads_its_input_writes_its_output_and_tells_its_log(shared: Live) -> None:
    request = shared.script("cat $in/in.txt; tr a-z A-Z < $in/in.txt > $out/out.txt")

    answer = shared.run(request)

    assert answer["status"] == "finishedSuccessfully"
    assert answer["logs"] == "hello\n"
    assert answer["jid"] == request["jid"]
    assert answer["image"] == request["image"]
    assert answer["timestamp"].startswith("20")
    assert shared.output(request, "out.txt").read_text() == "HELLO\n"


def test_the_answer_to_a_submission_has_every_field_of_the_contract(shared: Live) -> None:
    request = shared.request(args=["--a", "b c"])

    answer = shared.submit(request)

    assert set(answer) >= {"jid", "image", "cmd", "status", "message", "timestamp", "logs"}
    assert answer["cmd"] == "true --a 'b c' /share/incoming /share/outgoing"
    assert answer["status"] in {"notstarted", "started", "finishedSuccessfully"}
    assert answer["logs"] == ""


def test_plugins_of_type_fs_get_the_output_directory_only(shared: Live) -> None:
    request = shared.request(type="fs")

    assert shared.submit(request)["cmd"] == "true /share/outgoing"


def test_a_running_job_is_started_with_its_log_so_far(shared: Live) -> None:
    request = shared.script("echo first; sleep 60")

    shared.submit(request)

    answer = until(lambda: found if (found := shared.status(request["jid"]))["logs"] else None)
    assert answer["status"] == "started"
    assert answer["logs"] == "first\n"
    assert shared.delete(request["jid"]).status_code == 204


def test_a_failed_job_tells_its_exit_code_and_ends_its_log_with_the_cause(shared: Live) -> None:
    answer = shared.run(shared.script("echo working; exit 3"))

    assert answer["status"] == "finishedWithError"
    assert "exit code 3" in answer["message"]
    assert answer["exit_code"] == 3
    assert answer["logs"].startswith("working\npman: ")
    assert answer["message"] in answer["logs"].splitlines()[-1]


def test_a_job_killed_by_a_signal_tells_which(shared: Live) -> None:
    answer = shared.run(shared.script("sh -c 'kill -9 $$'; exit $?"))

    assert answer["status"] == "finishedWithError"
    assert "137" in answer["message"]


def test_a_job_over_its_memory_limit_is_killed_and_the_message_says_so(shared: Live) -> None:
    answer = shared.run(shared.script("a=x; while true; do a=$a$a; done", memory_limit=64))

    assert answer["status"] == "finishedWithError"
    assert "64 MiB" in answer["logs"].splitlines()[-1]


def test_a_program_that_does_not_exist_fails_the_job_and_is_named(shared: Live) -> None:
    answer = shared.run(shared.request(entrypoint=["no-such-program"]))

    assert answer["status"] == "finishedWithError"
    assert "no-such-program" in answer["logs"]
    assert "not found" in answer["logs"]


def test_a_file_that_is_not_executable_fails_the_job(shared: Live) -> None:
    answer = shared.run(shared.request(entrypoint=["/etc/passwd"]))

    assert answer["status"] == "finishedWithError"
    assert "ermission denied" in answer["logs"]


WORDS = [
    "plain",
    "",
    "two words",
    "'single' \"double\" `back`",
    "$(id) $HOME ${HOME} ~ * ? [a]",
    "a\nnewline\tand tab",
    "\\n backslash \\",
    "{{ jinja }} {% raw %} {# #}",
    "~{wdl} ${wdl} >>> <<<",
    "ünïcödé 漢字 😀 \u2028 \x7f \x85",
    "--flag=value",
    "# comment: [yaml, {json}] & *anchor !tag | > % @",
]


def test_every_argument_reaches_the_program_as_the_text_it_was(shared: Live) -> None:
    request = shared.script('for a; do printf "%s\\0" "$a"; done > $out/args', args=WORDS)

    answer = shared.run(request)

    assert answer["status"] == "finishedSuccessfully", answer
    reached = shared.output(request, "args").read_bytes().decode().split("\0")
    assert reached[: len(WORDS)] == WORDS


def test_every_environment_variable_reaches_the_program_as_the_text_it_was(shared: Live) -> None:
    values = {f"VAR_{index}": word for index, word in enumerate(WORDS)}
    text = "".join(f'printf "%s\\0" "$VAR_{index}"; ' for index in range(len(WORDS)))
    request = shared.script(
        f"{{ {text} }} > $out/env", env=[f"{name}={value}" for name, value in values.items()]
    )

    answer = shared.run(request)

    assert answer["status"] == "finishedSuccessfully", answer
    assert shared.output(request, "env").read_bytes().decode().split("\0")[:-1] == WORDS


def test_a_thousand_arguments_arrive(shared: Live) -> None:
    request = shared.script("echo $# > $out/count", args=[f"argument-{index}" for index in range(1000)])

    shared.run(request)

    assert shared.output(request, "count").read_text() == "1002\n"


def test_the_input_cannot_be_written(shared: Live) -> None:
    answer = shared.run(shared.script("touch $in/new"))

    assert answer["status"] == "finishedWithError"
    assert "Read-only file system" in answer["logs"]


def test_an_identical_repeat_answers_201_and_runs_nothing_twice(shared: Live) -> None:
    request = shared.script("echo run >> $out/runs")
    first = shared.run(request)

    again = shared.submit(request)

    assert again["status"] == "finishedSuccessfully"
    assert again["timestamp"] == first["timestamp"]
    assert shared.output(request, "runs").read_text() == "run\n"


def test_another_request_of_the_same_name_is_a_conflict(shared: Live) -> None:
    request = shared.request()
    shared.submit(request)

    response = shared.post({**request, "args": ["--other"]})

    assert response.status_code == 409
    assert request["jid"] in response.json()["message"]


REFUSED: Mapping[str, Mapping[str, Any]] = {
    "docker": {"cpu_limit": 64_000_000},
    "swarm": {"args": ["x" * 100_000] * 45},
    "kubernetes": {"args": ["x" * 100_000] * 16},
}
"""What these engines refuse before they look whether the name is taken."""


def test_a_refused_submission_leaves_the_job_that_has_the_name(shared: Live) -> None:
    request = shared.script("echo begun; while [ ! -e $out/go ]; do sleep 0.05; done")
    shared.submit(request)
    until(lambda: shared.status(request["jid"])["logs"])
    refusal = REFUSED.get(shared.engine.name, {"cpu_limit": 150})

    response = shared.post({**request, **refusal})

    assert response.status_code == 409, response.text
    assert "another content" in response.json()["message"]
    assert shared.status(request["jid"])["status"] == "started"
    shared.output(request, "go").touch()
    assert shared.finished(request["jid"])["status"] == "finishedSuccessfully"
    if shared.engine.name in REFUSED:
        refused = shared.request(**refusal)
        assert shared.post(refused).status_code == 400
        assert shared.get(refused["jid"]).status_code == 404


def test_one_request_posted_many_times_at_once_runs_once(shared: Live) -> None:
    request = shared.script("echo run >> $out/runs")

    with concurrent.futures.ThreadPoolExecutor(12) as pool:
        responses = list(pool.map(lambda _: shared.post(request), range(12)))

    assert [response.status_code for response in responses] == [201] * 12
    shared.finished(request["jid"])
    assert shared.output(request, "runs").read_text() == "run\n"


def test_a_job_posted_to_two_pmans_at_once_runs_once_each_time(shared: Live) -> None:
    other = Server(shared.environment())
    races = 50 if shared.engine.name in ("docker", "local") else 10  # elsewhere a job takes seconds
    requested = [shared.script("echo run >> $out/runs", cpu_limit=50) for _ in range(races)]
    try:
        with concurrent.futures.ThreadPoolExecutor(4) as pool:
            posts = [
                [
                    pool.submit(shared.post, request),
                    pool.submit(requests.post, other.url, json=request, timeout=100),
                ]
                for request in requested
            ]
            for both in posts:
                responses = [post.result() for post in both]
                assert [response.status_code for response in responses] == [201, 201], [
                    response.text for response in responses
                ]
    finally:
        other.stop()
    for request in requested:
        assert shared.finished(request["jid"])["status"] == "finishedSuccessfully"
        assert shared.output(request, "runs").read_text() == "run\n"


def one_worker_only(engine: str) -> bool:
    """Whether an engine declares that one container, or one process, is all that runs a job."""
    narrowed = properties(engine_schema(engine, "request")).get("number_of_workers", {})
    return bool(narrowed.get("const") == 1)


def test_several_workers_run_side_by_side_or_are_refused_by_name(shared: Live) -> None:
    meet = "touch $out/$(hostname); while [ $(ls $out | wc -l) -lt 3 ]; do sleep 0.1; done; "
    request = shared.script(f"{meet} echo this is $(hostname)", number_of_workers=3)

    response = shared.post(request)

    if one_worker_only(shared.engine.name):
        assert response.status_code == 400
        assert [error["path"] for error in response.json()["errors"]] == ["$.number_of_workers"]
        return
    answer = shared.finished(request["jid"])
    assert answer["status"] == "finishedSuccessfully", answer
    workers = {file.name for file in shared.output(request, ".").iterdir()}
    assert len(workers) == 3
    lines = re.findall(r"^\[(\S+)\] this is (\S+)$", answer["logs"], re.MULTILINE)
    assert len({name for name, _ in lines}) == 3
    assert {worker for _, worker in lines} == workers


def test_a_job_has_failed_when_one_of_its_workers_has(shared: Live) -> None:
    if one_worker_only(shared.engine.name):
        return  # see above
    first = "if mkdir $out/first 2>/dev/null; then exit 4; fi; sleep 0.5"

    answer = shared.run(shared.script(first, number_of_workers=2))

    assert answer["status"] == "finishedWithError"
    assert "exit code 4" in answer["message"]


def test_deleting_a_running_job_ends_it(shared: Live) -> None:
    request = shared.script("while true; do date >> $out/alive; sleep 0.1; done")
    shared.submit(request)
    until(lambda: shared.output(request, "alive").exists())

    assert shared.delete(request["jid"]).status_code == 204

    assert shared.get(request["jid"]).status_code == 404
    size = shared.output(request, "alive").stat().st_size
    with pytest.raises(AssertionError, match="nothing came"):
        until(lambda: shared.output(request, "alive").stat().st_size > size, 0.5)


def test_a_deleted_job_is_unknown_and_its_name_is_free(shared: Live) -> None:
    request = shared.request()
    shared.run(request)

    assert shared.delete(request["jid"]).status_code == 204
    assert shared.delete(request["jid"]).status_code == 404
    assert shared.get(request["jid"]).json() == {"message": f"no job '{request['jid']}'"}

    assert shared.run({**request, "args": ["--other"]})["status"] == "finishedSuccessfully"


def test_a_name_that_is_used_again_at_once_belongs_to_the_new_job(shared: Live) -> None:
    first = shared.script("echo old 0; while true; do date >> $out/old; sleep 0.1; done")
    shared.submit(first)
    until(lambda: shared.output(first, "old").exists())
    for turn in (1, 2):
        assert shared.delete(first["jid"]).status_code == 204
        again = shared.script(f"echo new {turn}; sleep 30", jid=first["jid"])

        shared.submit(again)

        answer = until(lambda: found if (found := shared.status(first["jid"]))["logs"] else None)
        assert answer["status"] == "started"
        assert answer["logs"] == f"new {turn}\n"


def test_two_deletions_at_once_delete_it_once(shared: Live) -> None:
    request = shared.script("sleep 60")
    shared.submit(request)
    shared.started(request["jid"])

    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda _: shared.delete(request["jid"]).status_code, range(4)))

    assert 204 in answers
    assert set(answers) <= {204, 404}
    assert shared.get(request["jid"]).status_code == 404


def test_a_job_goes_forward_only_however_often_it_is_looked_at(shared: Live) -> None:
    request = shared.script("echo said; sleep 1; echo more")
    seen = [shared.submit(request)]
    while not ended(seen[-1]):
        seen.append(shared.status(request["jid"]))
    seen += [shared.status(request["jid"]) for _ in range(20)]

    order = ["notstarted", "started", "finishedSuccessfully"]
    statuses = [order.index(answer["status"]) for answer in seen]
    assert statuses == sorted(statuses)
    assert statuses[-1] == 2
    assert {answer["logs"] for answer, status in zip(seen, statuses, strict=True) if status == 2} == {
        "said\nmore\n"
    }
    logs = [len(answer["logs"]) for answer in seen]
    assert logs == sorted(logs)


def test_stdout_and_stderr_come_in_the_order_they_were_written(shared: Live) -> None:
    # They are two pipes of whoever carries them, who may come to read both at once on a busy machine.
    text = "; ".join(f"echo out{index}; sleep 0.1; echo err{index} >&2; sleep 0.1" for index in range(4))

    answer = shared.run(shared.script(text))

    assert answer["logs"].split() == [word for index in range(4) for word in (f"out{index}", f"err{index}")]


def test_a_binary_log_is_shown_with_replacements(shared: Live) -> None:
    answer = shared.run(shared.script("printf 'ok\\377\\376\\001end\\n'"))

    assert answer["logs"] == "ok\ufffd\ufffd\x01end\n"


def test_only_the_last_lines_of_a_long_log_are_answered(shared: Live) -> None:
    answer = shared.run(shared.script("i=0; while [ $i -lt 3000 ]; do echo line $i; i=$((i+1)); done"))

    lines = answer["logs"].splitlines()
    assert len(lines) == 1000
    assert lines[-1] == "line 2999"


def test_a_log_is_bounded_in_bytes_too(shared: Live) -> None:
    answer = shared.run(shared.script("head -c 3000000 /dev/zero | tr '\\0' x; echo; echo last"))

    assert len(answer["logs"]) <= 1_000_000
    assert answer["logs"].endswith("\nlast\n")
    # Podman 4.3.1 leaves a line out of a tail that is longer than the buffer it reads with.
    assert answer["logs"].startswith("x" * 1000) or shared.engine.name == "podman"


def test_logs_follow_a_running_job_to_its_end(shared: Live) -> None:
    request = shared.script("echo one; while [ ! -e $out/go ]; do sleep 0.05; done; echo two")
    shared.submit(request)

    with requests.get(
        f"{shared.server.url}{request['jid']}/logs/", params={"follow": "true"}, stream=True, timeout=60
    ) as response:
        assert response.headers["Content-Type"].startswith("text/plain")
        lines = response.iter_lines(chunk_size=1)
        assert next(lines) == b"one"
        shared.output(request, "go").touch()
        assert list(lines) == [b"two"]


def test_logs_show_as_many_lines_as_are_asked_for(shared: Live) -> None:
    request = shared.script("echo one; echo two; echo three")
    shared.run(request)

    url = f"{shared.server.url}{request['jid']}/logs/"
    assert requests.get(url, params={"tail": "2"}, timeout=60).text == "two\nthree\n"
    assert requests.get(url, params={"tail": "0"}, timeout=60).text == ""
    assert requests.get(url, params={"tail": "-1"}, timeout=60).status_code == 400
    assert requests.get(f"{shared.server.url}no-such-job/logs/", timeout=60).status_code == 404


def test_a_job_outlives_a_pman_that_is_killed(second: Live) -> None:
    request = second.script("while [ ! -e $out/go ]; do sleep 0.05; done; echo done")
    second.submit(request)
    second.started(request["jid"])
    second.restart()

    second.started(request["jid"])
    second.output(request, "go").touch()

    answer = second.finished(request["jid"])
    assert answer["status"] == "finishedSuccessfully"
    assert answer["logs"] == "done\n"


def test_a_killed_pman_loses_no_submission_wherever_it_is_cut(second: Live) -> None:
    """SIGKILL at growing delays after each POST was sent; the identical retry must run it once."""
    requested = [second.script("echo run >> $out/runs; echo said", cpu_limit=50) for _ in KILLED_AFTER]

    def post(request: Mapping[str, Any], delay: float) -> None:
        time.sleep(max(KILLED_AFTER) - delay)
        with contextlib.suppress(requests.RequestException):  # the answer is lost
            second.post(request)

    with concurrent.futures.ThreadPoolExecutor(len(KILLED_AFTER)) as pool:
        posts = [pool.submit(post, *each) for each in zip(requested, KILLED_AFTER, strict=True)]
        time.sleep(max(KILLED_AFTER))
        second.server.stop(signal.SIGKILL)
        concurrent.futures.wait(posts)
    second.server = Server(second.environment())
    for request in requested:
        second.submit(request)

    answers = {request["jid"]: second.finished(request["jid"]) for request in requested}
    assert {answer["status"] for answer in answers.values()} == {"finishedSuccessfully"}
    for request in requested:
        assert second.output(request, "runs").read_text() == "run\n"
    assert {jid: second.status(jid) for jid in answers} == answers


def test_tokens_are_in_no_log_and_no_answer_of_pman(second: Live) -> None:
    token = "another-secret-token"  # noqa: S105  (it is none)
    request = second.script("exit 1", env=[f"CHRIS_USER_TOKEN={token}"])

    answers = [
        second.post(request),
        second.post(request, dry_run="true"),
        second.post({**request, "args": ["other"]}),
        second.post({**request, "jid": "!", "env": [f"CHRIS_USER_TOKEN={token}", 3]}),
        second.post({**request, "env": {"CHRIS_USER_TOKEN": token}}),
        second.post({**request, "jid": f"{request['jid']}-2", "image": "localhost:1/none:1"}),
    ]
    second.finished(request["jid"])
    answers.append(second.get(request["jid"]))

    assert "POST" in second.server.output()
    assert token not in second.server.output()
    assert not [answer.text for answer in answers if token in answer.text]


def test_the_home_workaround_sets_home_once(second: Live) -> None:
    request = second.script("env | grep ^HOME= > $out/home", env=["HOME=/root"])
    second.run(request)

    assert second.output(request, "home").read_text() == "HOME=/tmp\n"


def test_ignored_limits_do_not_end_a_job(second: Live) -> None:
    request = second.script("head -c 100000000 /dev/zero | tail -c 100000000 | wc -c", memory_limit=20)

    answer = second.run(request)

    assert answer["status"] == "finishedSuccessfully", answer


def test_remove_jobs_no_answers_204_and_leaves_the_job(second: Live) -> None:
    request = second.request()
    second.run(request)

    assert second.delete(request["jid"]).status_code == 204
    assert second.get(request["jid"]).status_code == 200
    assert second.delete("no-such-job").status_code == 404


def test_a_dry_run_shows_the_documents_with_masked_values_and_submits_nothing(shared: Live) -> None:
    request = shared.request(env=["CHRIS_USER_TOKEN=a-very-secret-token"])

    response = shared.post(request, dry_run="true")

    assert response.status_code == 200
    documents = response.json()["documents"]
    assert documents
    assert all(document["text"] for document in documents)
    assert "CHRIS_USER_TOKEN" in response.text
    assert "a-very-secret-token" not in response.text
    assert shared.get(request["jid"]).status_code == 404


def test_jobs_of_pman_are_listed(shared: Live) -> None:
    request = shared.request()
    shared.run(request)

    jobs = requests.get(f"{shared.server.root}/api/v2/jobs", timeout=60).json()["jobs"]

    (job,) = [job for job in jobs if job["jid"] == request["jid"]]
    assert job["status"] == "finishedSuccessfully"


def test_pman_is_ready_and_says_on_which_engine(shared: Live) -> None:
    assert requests.get(f"{shared.server.root}/healthz", timeout=60).json() == {"status": "ok"}
    assert requests.get(f"{shared.server.root}/readyz", timeout=60).json()["engine"]
    about = requests.get(shared.server.url, timeout=60).json()
    assert about["container_env"] == shared.engine.name
    assert about["storage_type"] == "host"
    assert about["engine"]["reachable"] is True
    assert about["server_version"]


def test_head_answers_without_a_body(shared: Live) -> None:
    request = shared.request()
    shared.run(request)

    response = requests.head(f"{shared.server.url}{request['jid']}/", timeout=60)

    assert response.status_code == 200
    assert response.content == b""
    assert requests.head(f"{shared.server.url}no-such-job/", timeout=60).status_code == 404


def test_directories_that_do_not_exist_are_refused_by_name(shared: Live) -> None:
    response = shared.post(shared.request(input_dir="nowhere", output_dir="neither"))

    assert response.status_code == 400
    assert [error["path"] for error in response.json()["errors"]] == ["$.input_dir", "$.output_dir"]


@pytest.mark.parametrize(
    ("target", "below", "told"),
    [
        ("/", "", "leads out of the storebase"),
        ("/", "/etc", "leads out of the storebase"),
        ("/etc", "", "leads out of the storebase"),
        ("../../..", "/etc", "leads out of the storebase"),
        ("nowhere", "", "a symbolic link"),
        ("key-of-another/outgoing", "", "a symbolic link"),
        ("key-of-another", "/outgoing", "a symbolic link"),
    ],
)
def test_a_symbolic_link_is_refused_wherever_it_leads(
    shared: Live, target: str, below: str, told: str
) -> None:
    (shared.storebase / "key-of-another/outgoing").mkdir(parents=True, exist_ok=True)
    name = f"link-{uuid.uuid4().hex}"
    (shared.storebase / name).symlink_to(target)

    response = shared.post(shared.request(input_dir=name + below, output_dir=name + below))

    assert response.status_code == 400
    errors = response.json()["errors"]
    assert [error["path"] for error in errors] == ["$.input_dir", "$.output_dir"]
    assert all(told in error["message"] for error in errors)


def test_two_jobs_may_share_one_directory_for_input_and_output(shared: Live) -> None:
    request = shared.script("cat $in/in.txt && echo x > $out/new")
    request = {**request, "output_dir": request["input_dir"]}

    assert shared.run(request)["status"] == "finishedSuccessfully"
    assert shared.output(request, "new").read_text() == "x\n"


@pytest.mark.parametrize("name", ["a b;c", "ünï😀", "$(id) $HOME", "x:y", "{{ 7*7 }}", "a\"b'c\\d", "*?[a]"])
def test_odd_characters_in_a_directory_do_not_change_the_mounts(shared: Live, name: str) -> None:
    directory = shared.storebase / name
    directory.mkdir(exist_ok=True)
    (directory / "in.txt").write_text(f"in {name}\n")
    request = {**shared.script("cat $in/in.txt"), "input_dir": name}

    response = shared.post(request)

    if response.status_code == 400:  # Podman reads options in a path
        assert [error["path"] for error in response.json()["errors"]] == ["$.input_dir"]
        return
    assert response.status_code == 201, response.text
    jid = request["jid"]
    answer = until(lambda: found if (found := shared.status(jid))["hint"] or ended(found) else None)
    if answer["status"] == "notstarted":  # Kubernetes with dockershim (before 1.24) and a colon
        assert "invalid volume specification" in answer["message"]
        return
    assert answer["logs"] == f"in {name}\n"


def test_a_real_chris_plugin_copies_its_input(shared: Live) -> None:
    request = shared.request(
        image=engines.PLUGIN, entrypoint=["simpledsapp.py"], args=["--prefix", "copy-"],
        cpu_limit=1000, memory_limit=500,
    )  # fmt: skip

    answer = shared.run(request)

    if shared.engine.name == "local":  # it runs the programs of this machine, whatever the image
        assert "simpledsapp.py" in answer["logs"]
        return
    assert answer["status"] == "finishedSuccessfully", answer
    assert shared.output(request, "copy-in.txt").read_text() == "hello\n"


def test_an_image_that_nobody_has_is_told_with_the_reason(shared: Live) -> None:
    request = shared.request(image="localhost:1/pman/no-such-image:1")

    response = shared.post(request)

    if response.status_code == 502:  # an engine that says so at once
        assert "image" in response.json()["message"]
        assert response.json()["hint"]
        assert shared.get(request["jid"]).status_code == 404
        return
    assert response.status_code == 201
    if shared.engine.name == "local":  # as above
        assert shared.finished(request["jid"])["status"] == "finishedSuccessfully"
        return
    answer = until(lambda: found if (found := shared.status(request["jid"]))["hint"] else None)
    assert answer["status"] in {"notstarted", "finishedWithError"}
    assert request["image"] in answer["message"]


def test_any_text_may_be_the_user_that_a_job_is_for(shared: Live) -> None:
    request = shared.request(auid="ünï 'quoted' \"double\" {{ x }}")

    assert shared.run(request)["status"] == "finishedSuccessfully"


def test_many_that_follow_a_log_do_not_keep_others_waiting(shared: Live) -> None:
    request = shared.script("echo one; while [ ! -e $out/go ]; do sleep 0.1; done")
    shared.submit(request)
    until(lambda: shared.status(request["jid"])["logs"])
    url = f"{shared.server.url}{request['jid']}/logs/"
    followers = [requests.get(url, params={"follow": "true"}, stream=True, timeout=60) for _ in range(70)]
    try:
        assert {next(follower.iter_content(4)) for follower in followers} == {b"one\n"}

        assert shared.status(request["jid"])["status"] == "started"
    finally:
        shared.output(request, "go").touch()
        for follower in followers:
            follower.close()


def test_a_job_that_does_not_end_in_time_is_ended(limited: tuple[Live, str]) -> None:
    running, jid = limited
    file = running.storebase / f"key-{jid}/outgoing/alive"

    answer = running.finished(jid)

    assert answer["status"] == "finishedWithError"
    assert "time limit of 1 min" in answer["logs"].splitlines()[-1]
    until(lambda: is_silent(file))
    alive = file.read_text().split()
    assert int(alive[-1]) - int(alive[0]) > 40


def is_silent(file: Path) -> bool:
    """Tell that a job that writes each second has written nothing for some."""
    before = file.read_text()
    time.sleep(3)
    return file.read_text() == before
