"""`pman diff`, as a person or a CI job runs it."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

import pytest

from tests.a_job import a_body, site_templates
from tests.cli.test_main import on_a_terminal, pman

HOST = {"STORAGE_TYPE": "host", "STOREBASE": "/srv/storebase"}
EXTENDED = '{% extends "builtin/docker/container.yaml.j2" %}\n'
SCORE = EXTENDED + "{% block extra %}  OomScoreAdj: 512\n{% endblock %}\n"


@pytest.fixture(autouse=True)
def request_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> str:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "request.json").write_bytes(a_body(env=["CHRIS_USER_TOKEN=open-sesame"]))
    return "request.json"


def the_site(directory: Path, template: str = SCORE) -> str:
    return str(site_templates(directory, {"docker/container.yaml.j2": template}))


def git(directory: Path, *words: str) -> None:
    who = ["-c", "user.name=a", "-c", "user.email=a@example.org", "-c", "commit.gpgsign=false"]
    subprocess.run(["git", *who, *words], cwd=directory, check=True, capture_output=True)


def test_diff_tells_what_the_sites_templates_change_by_path_and_as_text(tmp_path: Path) -> None:
    done = pman("diff", "request.json", PMAN_TEMPLATES=the_site(tmp_path / "site"), **HOST)

    assert done.exit_code == 1
    assert done.stdout.startswith(
        "container.yaml:\n+ $.HostConfig.OomScoreAdj: 512\n\n--- builtin/container.yaml\n"
    )
    assert "\n+  OomScoreAdj: 512\n" in done.stdout
    assert "open-sesame" not in done.output


def test_diff_ends_with_0_where_the_same_is_sent(tmp_path: Path) -> None:
    same = the_site(tmp_path / "site", EXTENDED)
    layout = the_site(tmp_path / "other", EXTENDED + "{% block extra %}  # for later\n{% endblock %}\n")

    assert pman("diff", "request.json", PMAN_TEMPLATES=same, **HOST).stdout == ""
    done = pman("diff", "request.json", PMAN_TEMPLATES=layout, **HOST)

    assert done.exit_code == 0
    assert "only comments or layout differ" in done.stdout


def test_diff_compares_with_a_directory(tmp_path: Path) -> None:
    site, other = the_site(tmp_path / "site"), the_site(tmp_path / "other", SCORE.replace("512", "64"))

    done = pman("diff", "request.json", "--against", other, PMAN_TEMPLATES=site, **HOST)

    assert "~ $.HostConfig.OomScoreAdj: 64 -> 512\n" in done.stdout


def test_diff_compares_with_a_revision_of_the_sites_repository(tmp_path: Path) -> None:
    repository = tmp_path / "repository"
    site = the_site(repository / "conf/site", SCORE.replace("512", "64"))
    git(repository, "init", "-q")
    git(repository, "add", ".")
    git(repository, "commit", "-q", "-m", "first")
    the_site(repository / "conf/site")

    done = pman("diff", "request.json", "--against", "HEAD", PMAN_TEMPLATES=site, **HOST)

    assert done.exit_code == 1
    assert "~ $.HostConfig.OomScoreAdj: 64 -> 512\n" in done.stdout
    assert "--- HEAD/container.yaml\n" in done.stdout
    assert subprocess.check_output(["git", "worktree", "list"], cwd=repository).count(b"\n") == 1


def test_diff_knows_which_of_several_directories_came_first_at_a_revision(tmp_path: Path) -> None:
    first, second = the_site(tmp_path / "a", SCORE), the_site(tmp_path / "b", SCORE.replace("512", "64"))
    git(tmp_path, "init", "-q")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-q", "-m", "first")

    for order in (f"{first}:{second}", f"{second}:{first}"):
        assert pman("diff", "request.json", "--against", "HEAD", PMAN_TEMPLATES=order, **HOST).exit_code == 0


def test_diff_with_a_revision_that_had_no_templates_compares_with_the_shipped_ones(tmp_path: Path) -> None:
    git(tmp_path, "init", "-q")
    git(tmp_path, "commit", "-q", "--allow-empty", "-m", "first")
    site = the_site(tmp_path / "site")

    done = pman("diff", "request.json", "--against", "HEAD", PMAN_TEMPLATES=site, **HOST)

    assert "+ $.HostConfig.OomScoreAdj: 512\n" in done.stdout


@pytest.mark.parametrize("against", ["HEAD~7", "--output=x", "nowhere", ""])
def test_diff_says_what_it_cannot_compare_with(tmp_path: Path, against: str) -> None:
    git(tmp_path, "init", "-q")
    git(tmp_path, "commit", "-q", "--allow-empty", "-m", "first")

    site = the_site(tmp_path / "site")
    done = pman("diff", "request.json", f"--against={against}", PMAN_TEMPLATES=site, **HOST)

    assert done.exit_code == 2
    assert f"--against {against!r}: neither builtin, nor a directory, nor a revision" in done.stderr
    assert done.stdout == ""


def test_a_revision_needs_templates_of_the_sites_own() -> None:
    done = pman("diff", "request.json", "--against", "HEAD", **HOST)

    assert done.exit_code == 2
    assert "PMAN_TEMPLATES is not set" in done.stderr


def test_diff_of_a_request_or_template_that_is_wrong_is_trouble(tmp_path: Path) -> None:
    broken = the_site(tmp_path / "site", EXTENDED + "{% block extra %}  A: {{ job.pids }}\n{% endblock %}")
    (tmp_path / "wrong.json").write_bytes(a_body(cpu_limit=-1))

    for words, settings, told in (
        (("wrong.json",), {}, "$.cpu_limit"),
        (("request.json",), {"PMAN_TEMPLATES": broken}, "job.pids is not known"),
        (("request.json", "--against", broken), {}, "job.pids is not known"),
    ):
        done = pman("diff", *words, **HOST, **settings)
        assert done.exit_code == 2, done.output
        assert told in done.stderr
        assert done.stdout == ""


def test_what_the_other_templates_refuse_is_a_difference(tmp_path: Path) -> None:
    gpu = '{% block gpu %}\n    "gres": {{ "gpu:" ~ job.gpu_limit }},\n{% endblock %}'
    template = '{% extends "builtin/slurm/job.json.j2" %}' + gpu
    site = str(site_templates(tmp_path / "site", {"slurm/job.json.j2": template}))
    (tmp_path / "gpu.json").write_bytes(a_body(gpu_limit=1))
    environ = {**HOST, "SLURM_RUNTIME": "charliecloud", "PMAN_TEMPLATES": site}

    done = pman("diff", "gpu.json", "--engine", "slurm", **environ)
    answer = pman("diff", "gpu.json", "--engine", "slurm", "--format=json", **environ)

    assert done.exit_code == 1, done.stderr
    assert done.stdout.startswith("- builtin refuses the request: $.gpu_limit: 1: ")
    assert '+    "gres": "gpu:1",\n' in done.stdout
    assert json.loads(answer.stdout)["refused"][0].startswith("$.gpu_limit")


def test_diff_answers_in_json(tmp_path: Path) -> None:
    site = the_site(tmp_path / "site")

    done = pman("diff", "request.json", "--format", "json", PMAN_TEMPLATES=site, **HOST)
    answer = json.loads(done.stdout)

    assert done.exit_code == 1
    assert answer["changes"] == [
        {
            "document": "container.yaml",
            "path": "$.HostConfig.OomScoreAdj",
            "kind": "added",
            "old": None,
            "new": 512,
        }
    ]
    assert (answer["engine"], answer["against"], answer["refused"]) == ("docker", "builtin", [])
    assert answer["text"].startswith("--- builtin/container.yaml\n+++ site/container.yaml\n")


def test_a_script_is_compared_as_text(tmp_path: Path) -> None:
    extended = '{% extends "builtin/local/job.sh.j2" %}{% block extra %}\nulimit -n 64\n{% endblock %}'
    site = str(site_templates(tmp_path / "site", {"local/job.sh.j2": extended}))

    done = pman("diff", "request.json", "--engine", "local", PMAN_TEMPLATES=site, **HOST)

    assert done.stdout.startswith("job.sh:\n~ $: see the text\n\n--- builtin/job.sh\n")
    assert "\n+ulimit -n 64\n" in done.stdout


def test_diff_is_coloured_on_a_terminal(tmp_path: Path) -> None:
    output = on_a_terminal("diff", "request.json", PMAN_TEMPLATES=the_site(tmp_path / "site"), **HOST)

    assert "\x1b[32m+ $.HostConfig.OomScoreAdj: 512" in output
    assert "+  OomScoreAdj: 512" in re.sub(r"\x1b\[[\d;]*m", "", output)
