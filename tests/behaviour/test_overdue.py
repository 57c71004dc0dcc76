"""What no engine does of itself: pman ends a job that a rule calls overdue, and keeps it to be seen."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests import engines
from tests.a_job import site_templates
from tests.engines.relay import relay
from tests.live import Server, live, until

RULE = """
extends: builtin/{engine}/state.yaml
rules:
  - when: native.State.Status == 'running' and seconds_since(native.State.StartedAt) > 1
      and native.Config.Labels['org.example.a-second']
    status: started
    message: above the site's second
    overdue: true
"""

MARKED = {"JOB_LABELS": "org.example.a-second=yes"}
"""The rule is for these tests' jobs only: others may be on the engine."""


@pytest.mark.parametrize("name", ["docker", "podman"])
def test_an_overdue_job_is_ended_whoever_polls_it_and_stays_to_be_seen(
    name: str, storebase: Path, tmp_path: Path
) -> None:
    site = site_templates(tmp_path, {f"{name}/state.yaml": RULE.format(engine=name)})
    with live(engines.need(name), storebase, PMAN_TEMPLATES=str(site), **MARKED) as running:
        request = running.script("echo said; sleep 600")
        running.submit(request)

        answer = running.finished(request["jid"])

        assert answer["status"] == "finishedWithError"
        assert answer["exit_code"] == 137
        assert answer["logs"].startswith("said\n")
        until(lambda: f"{request['jid']} was ended: above the site's second" in running.server.output())


def test_an_overdue_job_is_ended_by_a_pman_that_was_away(storebase: Path, tmp_path: Path) -> None:
    site = site_templates(tmp_path, {"docker/state.yaml": RULE.format(engine="docker")})
    with live(engines.need("docker"), storebase, **MARKED) as running:
        request = running.script("echo said; sleep 600")
        running.submit(request)
        running.started(request["jid"])

        later = Server({**running.environment(), "PMAN_TEMPLATES": str(site)})
        try:
            until(lambda: running.status(request["jid"])["status"] == "finishedWithError")
        finally:
            later.stop()


def test_overdue_jobs_are_ended_though_the_engine_was_away_at_the_start_and_nobody_calls(
    storebase: Path, tmp_path: Path
) -> None:
    site = site_templates(tmp_path, {"docker/state.yaml": RULE.format(engine="docker")})
    docker = engines.need("docker")
    with live(docker, storebase, **MARKED) as running, relay(docker.address) as between:
        request = running.script("sleep 600")
        running.submit(request)
        running.started(request["jid"])
        between.down()
        address = docker.at(between.address, tmp_path)
        later = Server({**running.environment(), **address, "PMAN_TEMPLATES": str(site)})
        try:
            assert "asked again until it answers" in later.output()
            between.up()

            until(lambda: running.status(request["jid"])["status"] == "finishedWithError")
        finally:
            later.stop()
