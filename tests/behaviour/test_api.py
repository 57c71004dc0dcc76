"""Requests that are not right, and an engine that is not there: each gets its clear answer."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import requests

from pman import executors
from pman.resources import TEMPLATES
from tests import engines
from tests.a_job import site_templates
from tests.engines.relay import relay
from tests.live import Live, live, refused_process, refused_start, unreached, until


def post(pman: Live, body: bytes | str, **headers: str) -> requests.Response:
    return requests.post(
        pman.server.url,
        data=body.encode() if isinstance(body, str) else body,
        headers={"Content-Type": "application/json", **headers},
        timeout=100,
    )


@pytest.mark.parametrize(
    ("changes", "path"),
    [
        ({"jid": "a b"}, "$.jid"),
        ({"jid": "../../etc"}, "$.jid"),
        ({"jid": "x" * 300}, "$.jid"),
        ({"jid": "z"}, "$.jid"),
        ({"jid": "job\n"}, "$.jid"),
        ({"jid": ""}, "$.jid"),
        ({"jid": None}, "$.jid"),
        ({"image": ""}, "$.image"),
        ({"image": "Not A Reference"}, "$.image"),
        ({"image": "a" * 100_000}, "$.image"),
        ({"entrypoint": []}, "$.entrypoint"),
        ({"entrypoint": "echo"}, "$.entrypoint"),
        ({"args": "--x y"}, "$.args"),
        ({"args": ["a", None]}, "$.args[1]"),
        ({"args": ["x" * 131_072]}, "$.args[0]"),
        ({"args": ["nul\0"]}, "$.args[0]"),
        ({"env": ["A"]}, "$.env[0]"),
        ({"env": {"A": "b"}}, "$.env"),
        ({"type": "zz"}, "$.type"),
        ({"cpu_limit": "1000m"}, "$.cpu_limit"),
        ({"cpu_limit": -5}, "$.cpu_limit"),
        ({"cpu_limit": True}, "$.cpu_limit"),
        ({"memory_limit": -1}, "$.memory_limit"),
        ({"gpu_limit": -1}, "$.gpu_limit"),
        ({"number_of_workers": 0}, "$.number_of_workers"),
        ({"input_dir": "../../../etc"}, "$.input_dir"),
        ({"input_dir": "/etc"}, "$.input_dir"),
        ({"input_dir": ""}, "$.input_dir"),
        ({"output_dir": "a/../../b"}, "$.output_dir"),
        ({"output_dir": "a\0b"}, "$.output_dir"),
        ({"args": ["{{ 7*7 }}", "\ud800"]}, "$.args[1]"),
    ],
)
def test_a_field_that_is_wrong_is_400_with_its_path(local: Live, changes: dict[str, Any], path: str) -> None:
    response = post(local, json.dumps({**local.request(), **changes}))

    assert response.status_code == 400, response.text
    assert [error["path"] for error in response.json()["errors"]] == [path]
    assert path.removeprefix("$.") in response.json()["message"]


def test_every_missing_field_is_named_at_once(local: Live) -> None:
    response = post(local, "{}")

    assert response.status_code == 400
    assert len(response.json()["errors"]) == 12


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b'"x"',
        b"\xff\xfe",
        b'{"a": NaN}',
        b'{"jid": "a", "jid": "b"}',
        b"[" * 100_000,
    ],
)
def test_a_body_that_is_no_request_is_400(local: Live, body: bytes) -> None:
    response = post(local, body)

    assert response.status_code == 400
    assert response.json()["message"]


def test_five_megabytes_in_one_argument_are_refused(local: Live) -> None:
    assert post(local, json.dumps(local.request(args=["x" * 5_000_000]))).status_code == 400


def test_a_body_beyond_the_limit_is_413_and_says_which(local: Live) -> None:
    response = post(local, json.dumps(local.request(args=["x" * 1000] * 40_000)))

    assert response.status_code == 413
    assert "8388608" in response.json()["message"]


def test_another_content_type_is_415(local: Live) -> None:
    body = json.dumps(local.request())

    assert post(local, body, **{"Content-Type": "text/plain"}).status_code == 415
    assert requests.post(local.server.url, data={"jid": "a"}, timeout=60).status_code == 415


def test_fields_of_the_query_string_do_not_count(local: Live) -> None:
    request = local.request()
    del request["auid"]

    response = requests.post(local.server.url, json=request, params={"auid": "cube"}, timeout=60)

    assert response.status_code == 400
    assert response.json()["errors"][0]["path"] == "$.auid"


def test_unknown_fields_numeric_strings_nulls_and_a_leading_slash_are_taken_as_ever(local: Live) -> None:
    request = local.request(
        cpu_limit="1000", memory_limit="200", gpu_limit="0", env=None, args_path_flags=None
    )

    answer = local.submit({**request, "jid": f"/{request['jid']}", "extra": {"a": 1}})

    assert answer["jid"] == request["jid"]
    local.submitted.append(request["jid"])


def test_addresses_and_methods_that_do_not_exist_answer_in_json(local: Live) -> None:
    assert requests.get(f"{local.server.root}/nothing", timeout=60).json()["message"]
    response = requests.put(local.server.url, timeout=60)
    assert response.status_code == 405
    assert "POST" in response.headers["Allow"]
    assert response.json()["message"]
    assert requests.options(local.server.url, timeout=60).status_code == 200


def test_addresses_without_the_last_slash_answer_at_once(local: Live) -> None:
    request = local.request()
    local.run(request)

    url = local.server.url.rstrip("/")
    assert requests.get(url, timeout=60, allow_redirects=False).status_code == 200
    assert requests.get(f"{url}/{request['jid']}", timeout=60, allow_redirects=False).status_code == 200


def test_a_misspelt_parameter_submits_nothing(local: Live) -> None:
    request = local.request()

    response = local.post(request, dryrun="true")

    assert response.status_code == 400
    assert "did you mean dry_run?" in response.json()["message"]
    assert local.get(request["jid"]).status_code == 404


def test_an_address_cannot_write_a_line_of_its_own_into_the_log(local: Live) -> None:
    requests.delete(f"{local.server.url}x%0a2030-01-01%20INFO%20forged/", timeout=60)

    assert "\n2030-01-01 INFO forged" not in local.server.output()


def test_a_flag_that_is_no_flag_is_refused(local: Live) -> None:
    assert local.post(local.request(), dry_run="perhaps").status_code == 400


@contextmanager
def silent_engine() -> Iterator[str]:
    """Accepts and says nothing."""
    with socket.create_server(("127.0.0.1", 0), backlog=64) as listener:
        yield f"127.0.0.1:{listener.getsockname()[1]}"


@pytest.fixture(scope="module", params=[name for name in engines.NAMES if name in engines.VARIABLES])
def pman(request: pytest.FixtureRequest, pmans: Callable[[str], Live]) -> Live:
    """Each engine that has an address: all but this machine, which is always there."""
    return pmans(request.param)


def test_a_silent_engine_is_503_within_the_set_time(pman: Live, tmp_path: Path) -> None:
    with silent_engine() as address:
        settings = {**pman.engine.at(address, tmp_path), "ENGINE_TIMEOUT": "1"}
        with live(pman.engine, pman.storebase, **settings) as running:
            response = running.get("some-job")

    assert response.status_code == 503
    assert "within 1 s" in response.json()["message"]


def test_an_engine_that_is_not_there_is_503_with_what_was_tried_and_pman_recovers_by_itself(
    pman: Live, tmp_path: Path
) -> None:
    with relay(pman.engine.address) as between:
        between.down()
        with live(pman.engine, pman.storebase, **pman.engine.at(between.address, tmp_path)) as running:
            for response in (
                running.post(running.request()),
                running.get("some-job"),
                running.delete("some-job"),
                requests.get(f"{running.server.root}/readyz", timeout=60),
            ):
                assert response.status_code == 503
                assert response.headers["Retry-After"]
                assert between.address in response.json()["message"]
                assert pman.engine.variable in response.json()["hint"]
            assert requests.get(f"{running.server.root}/healthz", timeout=60).status_code == 200
            assert requests.get(running.server.url, timeout=60).json()["engine"]["reachable"] is False
            assert running.post(running.request(), dry_run="true").status_code == 200

            between.up()
            request = running.request()
            until(lambda: running.post(request).status_code == 201)
            assert running.finished(request["jid"])["status"] == "finishedSuccessfully"

            between.down()
            assert running.get("some-job").status_code == 503
            between.up()
            until(lambda: running.get("some-job").status_code == 404)
            assert running.run(running.request())["status"] == "finishedSuccessfully"


# --- with polls answered by the app, and by what stands before it ----------------------------------


@pytest.fixture(scope="module", params=["local", "docker"])
def either(request: pytest.FixtureRequest, pmans: Callable[[str], Live]) -> Live:
    return pmans(request.param)


def test_what_no_job_can_be_called_is_404_and_never_reaches_the_engine(either: Live) -> None:
    for name in ("a%20b", "..%2f..", "a%0Ab", "%2e%2e", "x" * 300, "a%00b", "%ff%fe"):
        for call in (requests.get, requests.delete):
            response = call(f"{either.server.url}{name}/", timeout=60)
            assert response.status_code == 404, (name, response.text)
            assert response.json()["message"]


def test_a_burst_of_callers_is_answered_without_an_error(either: Live) -> None:
    request = either.request()
    either.run(request)
    statuses: list[int] = []

    def poll() -> None:
        with requests.Session() as session:
            for _ in range(10):
                statuses.append(session.get(f"{either.server.url}{request['jid']}/", timeout=60).status_code)

    threads = [threading.Thread(target=poll) for _ in range(32)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert statuses == [200] * 320


# --- starts that are refused -----------------------------------------------------------------------


@pytest.mark.parametrize("engine", executors.names())
def test_bad_settings_stop_the_start_with_name_value_and_what_is_allowed(
    engine: str, storebase: Path
) -> None:
    for changes, told in (
        (
            {"CONTAINER_ENV": "dokcer"},
            f"CONTAINER_ENV='dokcer': use {', '.join(executors.names())} (did you mean docker?)",
        ),
        ({"STORAGE_TYPE": "foo"}, "STORAGE_TYPE='foo'"),
        ({"STOREBASE": ""}, "STOREBASE"),
        ({"STOREBASE": "relative"}, "STOREBASE='relative'"),
        ({"CONTAINER_USER": "abc"}, "CONTAINER_USER='abc'"),
        ({"JOB_LOGS_TAIL": "many"}, "JOB_LOGS_TAIL='many'"),
        ({"IGNORE_LIMITS": "maybe"}, "IGNORE_LIMITS='maybe'"),
        ({"JOB_LABELS": "junk"}, "JOB_LABELS='junk'"),
        ({"PMAN_TEMPLATES": "/no/such/directory"}, "PMAN_TEMPLATES='/no/such/directory'"),
    ):
        assert told in refused_start({**unreached(engine, storebase), **changes})


def broken(engine: str, directory: Path) -> tuple[dict[str, str], str]:
    """The setting of a site whose template names no variable that there is; and the template."""
    name = sorted(file.name for file in (TEMPLATES / engine).glob("*.j2"))[0]
    site_templates(directory, {f"{engine}/{name}": "# first\nImage: {{ job.imgae }}\n"})
    return {"PMAN_TEMPLATES": str(directory)}, f"{engine}/{name}"


@pytest.mark.parametrize("engine", executors.names())
def test_a_site_template_that_is_broken_stops_the_start_with_its_place(
    engine: str, storebase: Path, tmp_path: Path
) -> None:
    setting, template = broken(engine, tmp_path)

    told = refused_start({**unreached(engine, storebase), **setting})

    assert f"{template}, line 2" in told
    assert "did you mean job.image?" in told


@pytest.mark.parametrize("name", engines.NAMES)
def test_a_start_that_is_refused_ends_the_process_with_2_and_the_reason(
    name: str, pmans: Callable[[str], Live], tmp_path: Path
) -> None:
    pman = pmans(name)
    setting, template = broken(pman.engine.name, tmp_path)

    assert f"{template}, line 2" in refused_process({**pman.environment(), **setting})
