"""schemathesis against a real server: what the description says holds, whatever is sent, and nothing fails.

No job can come of it: a request names directories, and none that is made up is in the storebase. None
goes by it either: schemathesis learns the names of all jobs that an engine lists, those of other tests
among them, so the pman that it calls leaves them there. Nor does it follow a log, which ends with its job.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from tests import engines
from tests.live import Live, live, unmeasured

CONFIGURATION = """
# A request that is valid may name directories that are not there, and a cursor that no page had.
[[operations]]
include-operation-id = ["submit", "jobs"]
checks.positive_data_acceptance.enabled = false

[parameters]
"query.follow" = false
"""

TOKEN = "a-token-of-the-site"  # noqa: S105  (of no site)

SITE = {
    "local/job.yaml.j2": '{% extends "builtin/local/job.yaml.j2" %}\n'
    "{% block notes %}\n{{ super() }}\n# a site's\n{% endblock %}\n",
    "swarm/service.yaml.j2": '{% extends "builtin/swarm/service.yaml.j2" %}\n{% block env %}\n',
}
"""An override, and a broken file of an engine that is not the site's."""

OF_A_JOB = """
"path.jid" = "{jid}"
"""


def a_site(directory: Path) -> Mapping[str, str]:
    """The settings of a site with a token and templates of its own."""
    for name, text in SITE.items():
        (directory / name).parent.mkdir()
        (directory / name).write_text(text)
    return {"AUTH_TOKEN": TOKEN, "PMAN_TEMPLATES": str(directory)}


def fuzzed(pman: Live, directory: Path, configuration: str, *options: str) -> None:
    file = directory / "schemathesis.toml"
    file.write_text(configuration)
    command = [
        str(Path(sys.executable).with_name("schemathesis")),
        f"--config-file={file}",
        "run",
        f"{pman.server.address}/openapi.json",
        "--seed=1",
        "--exclude-path-regex=events$",  # they do not end; test_api_v2.py follows them
        "--request-timeout=60",
        "--suppress-health-check=all",
        "--generation-database=none",
        "--no-color",
        *options,
    ]
    done = subprocess.run(
        command,
        env=unmeasured(),
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
        cwd=directory,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Traceback" not in pman.server.output()


def test_whatever_is_sent_the_answer_is_as_described(storebase: Path, tmp_path: Path) -> None:
    signed = f"--header=Authorization: Bearer {TOKEN}"
    with live(engines.need("local"), storebase, REMOVE_JOBS="no", **a_site(tmp_path)) as running:
        fuzzed(running, tmp_path, CONFIGURATION, "--phases=coverage,fuzzing", "--max-examples=2", signed)


@pytest.mark.parametrize("engine", ["local", "docker"])
def test_whatever_is_asked_of_a_job_that_is_there_the_answer_is_as_described(
    engine: str, pmans: Callable[[str], Live], storebase: Path, tmp_path: Path
) -> None:
    own = pmans(engine)
    request = own.script("echo hello")
    own.run(request)
    of_a_job = CONFIGURATION + OF_A_JOB.format(jid=request["jid"])

    with live(own.engine, storebase, REMOVE_JOBS="no") as running:
        fuzzed(
            running, tmp_path, of_a_job, "--phases=fuzzing", "--max-examples=4", "--include-path-regex=jid"
        )

    assert own.status(request["jid"])["status"] == "finishedSuccessfully"
