"""`pman lint` as CI calls it: what it prints, where, and how it ends."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from pman.cli.main import main
from pman.settings import DECLARED
from pman.workshop.lint.formats import FORMATS
from pman.workshop.lint.native import KUBERNETES
from tests.a_job import site_templates

EXTENDS = '{% extends "builtin/docker/container.yaml.j2" %}\n'
GOOD = {"docker/container.yaml.j2": EXTENDS + "{% block extra %}\n  OomScoreAdj: 512\n{% endblock %}\n"}
WRONG = {"docker/container.yaml.j2": EXTENDS + "{% block extra %}\n  PidsLimt: 512\n{% endblock %}\n"}
DOUBTFUL = {
    "docker/container.yaml.j2": EXTENDS
    + '{% block extra %}\n{% if job.jid == "a" %}\n  OomScoreAdj: 512\n{% endif %}\n{% endblock %}\n'
}


@pytest.fixture(autouse=True)
def _in_a_directory_of_its_own(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)


def pman(*words: str, **environ: str) -> Result:
    """Configured by `environ` and by nothing else."""
    return CliRunner().invoke(main, words, env={**dict.fromkeys(DECLARED), **environ})


def test_a_mistake_is_one_line_with_what_was_meant_below(tmp_path: Path) -> None:
    site_templates(tmp_path / "site", WRONG)

    result = pman("lint", "site")

    assert result.stdout.splitlines() == [
        "site/docker/container.yaml.j2:3: error: HostConfig.PidsLimt: PidsLimt is no field here "
        "[unknown-field]",
        "    did you mean PidsLimit?",
    ]
    assert result.stderr.startswith("pman: 1 error in docker; ")
    assert result.exit_code == 1


def test_the_directories_of_pman_templates_are_taken_where_none_is_named(tmp_path: Path) -> None:
    site = site_templates(tmp_path / "site", WRONG)

    result = pman("lint", PMAN_TEMPLATES=str(site))

    assert (result.exit_code, "container.yaml.j2:3: error" in result.stdout) == (1, True)


def test_a_good_site_prints_nothing_on_stdout(tmp_path: Path) -> None:
    site_templates(tmp_path / "site", GOOD)

    result = pman("lint", "site", "--strict")

    assert (result.stdout, result.exit_code) == ("", 0)
    assert result.stderr.startswith("pman: nothing found in docker; ")


def test_a_warning_fails_only_where_that_is_asked_for(tmp_path: Path) -> None:
    site_templates(tmp_path / "site", DOUBTFUL)

    codes = [pman("lint", "site", *more).exit_code for more in ([], ["--strict"])]

    assert codes == [0, 1]


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["nowhere"], "nowhere: no such directory"),
        (["site", "--kubernetes-version", "0.9"], "--kubernetes-version='0.9': use 1.2"),
        (["site", "--golden", "nowhere"], "nowhere: no such directory"),
        (["site", "--samples", "site"], "--samples goes with --golden"),
        (["site", "--format", "xml"], "'xml' is not one of"),
    ],
)
def test_wrong_usage_ends_with_2_and_says_what_is_wrong(tmp_path: Path, words: list[str], told: str) -> None:
    site_templates(tmp_path / "site", {**GOOD, "kubernetes/_x.j2": ""})

    result = pman("lint", *words)

    assert (result.exit_code, result.stdout) == (2, "")
    assert told in result.stderr
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize("form", ["json", "github", "sarif"])
def test_what_ci_reads_stands_alone_on_stdout(tmp_path: Path, form: str) -> None:
    site_templates(tmp_path / "site", WRONG)

    result = pman("lint", "site", "--format", form)

    assert result.exit_code == 1
    assert "site/docker/container.yaml.j2" in result.stdout
    if form == "github":
        assert result.stdout.startswith("::error file=site/docker/container.yaml.j2,line=3,")
        assert result.stdout.count("\n") == 1
    else:
        assert json.loads(result.stdout)


def test_golden_files_are_compared(tmp_path: Path) -> None:
    site = site_templates(tmp_path / "site", GOOD)
    rendered = pman("render", "--all", "golden", CONTAINER_ENV="docker", PMAN_TEMPLATES=str(site))
    assert rendered.exit_code == 0, rendered.stderr

    same = pman("lint", "site", "--golden", "golden", CONTAINER_ENV="docker")
    (site / "docker/container.yaml.j2").write_text(GOOD["docker/container.yaml.j2"].replace("512", "256"))
    other = pman("lint", "site", "--golden", "golden", CONTAINER_ENV="docker")

    assert (same.exit_code, same.stdout) == (0, "")
    assert other.exit_code == 1
    assert "golden/docker/plain/container.yaml:" in other.stdout
    assert "[golden-differs]" in other.stdout


def test_help_names_every_format_and_the_version_of_kubernetes_that_is_taken() -> None:
    result = pman("lint", "--help")

    assert f"[{'|'.join(FORMATS)}]" in result.stdout
    assert f"[default: {KUBERNETES}]" in " ".join(result.stdout.split())
