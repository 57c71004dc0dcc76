"""`pman render --all`, as a site's repository uses it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.a_job import ENGINES, a_body
from tests.cli.test_main import pman

SWARM = {"DOCKER_HOST": "unix:///nonexistent/engine.sock", "CONTAINER_ENV": "docker", "VOLUME_NAME": "chris"}


@pytest.fixture(autouse=True)
def samples(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Two requests, of which Docker can run one."""
    monkeypatch.chdir(tmp_path)
    directory = tmp_path / "samples"
    directory.mkdir()
    (directory / "one.json").write_bytes(a_body(env=["CHRIS_USER_TOKEN=open-sesame"]))
    (directory / "many.json").write_bytes(a_body(number_of_workers=4))
    return directory


def test_every_sample_is_written_below_its_engine_with_the_environment_masked(tmp_path: Path) -> None:
    done = pman("render", "--all", "golden", "--samples", "samples", **SWARM)

    assert done.exit_code == 0
    assert done.stdout.splitlines()[-1] == "golden: 2 files, 2 changed"
    assert "CHRIS_USER_TOKEN=********" in (tmp_path / "golden/docker/one/container.yaml").read_text()
    assert (tmp_path / "golden/docker/many/refused.txt").read_text().startswith("$.number_of_workers: ")


def test_no_engine_is_asked_and_the_assumption_is_told_once() -> None:
    done = pman("render", "--all", "golden", "--samples", "samples", **SWARM)

    assert done.stderr == "pman: no engine was asked; assuming that the storebase is at /storebase\n"


def test_a_second_time_changes_nothing_and_a_sample_that_is_gone_goes(tmp_path: Path, samples: Path) -> None:
    pman("render", "--all", "golden", "--samples", "samples", **SWARM)
    again = pman("render", "--all", "golden", "--samples", "samples", **SWARM)
    (samples / "many.json").unlink()
    fewer = pman("render", "--all", "golden", "--samples", "samples", **SWARM)

    assert again.stdout == "golden: 2 files, 0 changed\n"
    assert fewer.stdout == "removed golden/docker/many/refused.txt\ngolden: 1 files, 1 changed\n"
    assert not (tmp_path / "golden/docker/many").exists()


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ((), "either REQUEST.json or --all"),
        (("samples/one.json", "--all", "golden"), "either REQUEST.json or --all"),
        (("samples/one.json", "--samples", "samples"), "--samples goes with --all"),
        (("--all", "golden", "--samples", "nowhere"), "nowhere"),
        (("--all", "golden", "--show-env"), "--show-env does not go with --all"),
        (("--all", "golden", "--samples", "."), "no request (*.json) in it"),
    ],
)
def test_what_does_not_go_together_is_wrong_usage(words: tuple[str, ...], told: str) -> None:
    done = pman("render", *words, **SWARM)

    assert done.exit_code == 2
    assert told in done.stderr


@pytest.mark.parametrize("engine", ENGINES)
def test_without_samples_of_the_sites_own_pmans_are_rendered(tmp_path: Path, engine: str) -> None:
    done = pman("render", "--all", "golden", "--engine", engine)

    assert done.exit_code == 0, done.stderr
    names = {file.name for file in (tmp_path / "golden" / engine).iterdir()}
    assert {"plain", "everything", "args", "cpu_limit"} <= names
    assert not list((tmp_path / "golden").rglob("refused.txt"))


def test_templates_that_do_not_work_write_nothing(tmp_path: Path) -> None:
    broken = tmp_path / "site/docker"
    broken.mkdir(parents=True)
    (broken / "container.yaml.j2").write_text("Image: {{ job.imgae }}\n")

    done = pman("render", "--all", "golden", "--samples", "samples", PMAN_TEMPLATES="site", **SWARM)

    assert done.exit_code == 2
    assert "did you mean job.image?" in done.stderr
    assert not (tmp_path / "golden").exists()


def test_a_policy_s_no_is_kept_like_any_other(tmp_path: Path) -> None:
    policy = {"properties": {"request": {"properties": {"image": {"const": "x"}}}}}
    (tmp_path / "policy.json").write_text(json.dumps(policy))

    pman("render", "--all", "golden", "--samples", "samples", PMAN_POLICY="policy.json", **SWARM)

    assert "$.request.image" in (tmp_path / "golden/docker/one/refused.txt").read_text()
