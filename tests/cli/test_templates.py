"""`pman templates` and `pman explain` as they are typed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from pman import schema
from pman.cli.main import main
from pman.resources import TEMPLATES
from pman.settings import DECLARED
from tests.a_job import ENGINES, site_templates
from tests.states import HERE as STATES

DOCKER = "docker/container.yaml.j2"
OVERRIDES = (
    f'{{% extends "builtin/{DOCKER}" %}}\n{{% block extra %}}  ReadonlyRootfs: true\n{{% endblock %}}\n'
)


@pytest.fixture(autouse=True)
def _no_dotenv(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)


def pman(*words: str, stdin: str | None = None, **environ: str) -> Result:
    unset = dict.fromkeys((*DECLARED, "PMAN_URL"))
    return CliRunner().invoke(main, words, input=stdin, env={**unset, **environ})


# --- list and show ---------------------------------------------------------------------------------


def test_the_list_names_every_file_with_its_blocks_or_rules(tmp_path: Path) -> None:
    found = pman("templates", "list")

    assert found.exit_code == 0
    rows = dict(line.split(None, 1) for line in found.output.splitlines() if line)
    assert set(rows) >= {path.relative_to(TEMPLATES).as_posix() for path in TEMPLATES.glob("*/*.*")}
    assert " shm " in rows[DOCKER]
    assert "rules before those of builtin/docker/state.yaml" in rows["podman/state.yaml"]


def test_the_list_says_what_is_overridden_and_by_which_file(tmp_path: Path) -> None:
    site_templates(tmp_path / "site", {DOCKER: OVERRIDES, "docker/state.yaml": "rules: []\n"})

    table = pman("templates", "list", "--engine", "docker", PMAN_TEMPLATES="site")
    data = pman("templates", "list", "--engine", "docker", "--format", "json", PMAN_TEMPLATES="site")

    lines = [" ".join(line.split()) for line in table.output.splitlines()]
    assert f"{DOCKER} site/{DOCKER} extends builtin/{DOCKER}: extra" in lines
    assert any(line.endswith(f"log extra* ← site/{DOCKER}") for line in lines)
    assert "docker/state.yaml shipped replaced by site/docker/state.yaml" in lines
    (engine,) = json.loads(data.output)["engines"]
    assert engine["engine"] == "docker"
    shipped = next(file for file in engine["files"] if file["name"] == DOCKER and file["shipped"])
    assert [block["name"] for block in shipped["blocks"] if block["overridden_by"]] == ["extra"]
    assert engine["rules"] == []


def test_the_json_of_the_list_has_every_rule_with_its_place() -> None:
    data = json.loads(pman("templates", "list", "--format", "json").output)["engines"]

    assert [engine["engine"] for engine in data] == ENGINES
    rule = data[ENGINES.index("docker")]["rules"][0]
    assert Path(rule["file"]).read_text().splitlines()[rule["line"] - 1] == f"  - when: {rule['when']}"


def test_the_json_of_the_list_is_what_the_api_answers(tmp_path: Path) -> None:
    site_templates(tmp_path / "site", {DOCKER: OVERRIDES, "slurm/state.yaml": "rules: 1\n"})
    described = schema.validator({"$ref": "urn:pman:api#/$defs/Templates"})

    data = json.loads(pman("templates", "list", "--format", "json", PMAN_TEMPLATES="site").output)

    assert not schema.faults(described, data)
    assert any(engine["faults"] for engine in data["engines"])


@pytest.mark.parametrize(
    ("name", "file"),
    [(DOCKER, f"site/{DOCKER}"), (f"builtin/{DOCKER}", str(TEMPLATES / DOCKER)),
     ("swarm/state.yaml", str(TEMPLATES / "swarm/state.yaml"))],
)  # fmt: skip
def test_a_template_is_shown_to_the_letter_as_it_is_found(tmp_path: Path, name: str, file: str) -> None:
    site_templates(tmp_path / "site", {DOCKER: OVERRIDES})

    assert pman("templates", "show", name, PMAN_TEMPLATES="site").output == Path(file).read_text()


def test_a_file_that_cannot_be_read_is_listed_and_shown_and_the_list_ends_with_1(tmp_path: Path) -> None:
    site_templates(tmp_path / "site", {DOCKER: "a: 1\n{% block extra %}\n"})

    table = pman("templates", "list", PMAN_TEMPLATES="site")
    data = pman("templates", "list", "--engine", "docker", "--format", "json", PMAN_TEMPLATES="site")
    check = pman("templates", "check", PMAN_TEMPLATES="site")

    assert table.exit_code == data.exit_code == 1
    assert f"cannot be read: site/{DOCKER}, line 2" in " ".join(table.output.split())
    assert "kubernetes/job.yaml.j2" in table.output
    assert [fault["line"] for fault in json.loads(data.output)["engines"][0]["faults"]] == [2]
    assert check.exit_code == 2
    assert f"{DOCKER}, line 2" in check.output
    assert pman("templates", "show", DOCKER, PMAN_TEMPLATES="site").output == "a: 1\n{% block extra %}\n"


# --- eject, docs, check ------------------------------------------------------------------------------


def test_what_is_ejected_is_rendered_by_the_next_command(tmp_path: Path) -> None:
    wrote = pman("templates", "eject", DOCKER, "--block", "resources", "--block", "shm", "--to", "site")

    assert wrote.stdout.split() == [f"site/{DOCKER}", f"site/{DOCKER}.base"]
    assert "PMAN_TEMPLATES=site" in wrote.stderr
    file = tmp_path / "site" / DOCKER
    file.write_text(file.read_text().replace("  NanoCpus", "  OomScoreAdj: 512\n  NanoCpus"))
    request = Path(__file__).parents[1] / "requests/ds-simpledsapp.json"
    nowhere = {"DOCKER_HOST": "unix:///nonexistent", "STORAGE_TYPE": "host", "STOREBASE": "/srv/storebase"}
    assert "OomScoreAdj: 512\n" in pman("render", str(request), PMAN_TEMPLATES="site", **nowhere).stdout
    assert pman("templates", "check", PMAN_TEMPLATES="site").exit_code == 0


def test_a_block_goes_to_the_first_directory_of_the_site_there_or_not(tmp_path: Path) -> None:
    wrote = pman("templates", "eject", "slurm/state.yaml", PMAN_TEMPLATES="new:other")

    assert wrote.output.split() == ["new/slurm/state.yaml"]
    assert (tmp_path / "new/slurm/state.yaml").is_file()


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["eject", DOCKER], "--to DIR, or in PMAN_TEMPLATES"),
        (["eject", DOCKER, "--block", "recources", "--to", "site"], "did you mean resources?"),
        (["eject", "dokcer/container.yaml.j2", "--to", "site"], f"did you mean builtin/{DOCKER}?"),
        (["show", "docker/state.yml"], "did you mean docker/state.yaml?"),
        (["docs", "docker/container.yaml"], f"did you mean {DOCKER}?"),
        (["list", "--engine", "dokcer"], "did you mean docker?"),
        (["check", "docker/none.j2"], "does not exist"),
    ],
)
def test_what_is_wrong_with_a_command_is_one_line(words: list[str], told: str, tmp_path: Path) -> None:
    found = pman("templates", *words)

    assert (found.exit_code, found.stdout) == (2, "")
    assert len(found.stderr.splitlines()) == 1
    assert told in found.stderr
    assert not (tmp_path / "site").exists()


def test_a_directory_of_the_site_that_is_missing_is_told() -> None:
    found = pman("templates", "list", PMAN_TEMPLATES="nowhere")

    assert (found.exit_code, found.stderr) == (2, "pman: PMAN_TEMPLATES='nowhere': no such directory\n")


@pytest.mark.parametrize("form", ["table", "json", "markdown"])
def test_the_documentation_of_a_template_names_blocks_and_variables_with_their_units(form: str) -> None:
    found = pman("templates", "docs", "kubernetes/job.yaml.j2", "--format", form)

    assert found.exit_code == 0
    for word in ("tolerations", "the pod's tolerations", "job.memory_limit", "MiB", "site.job_ttl_seconds"):
        assert word in found.output
    if form == "json":
        variables = {one["name"]: one for one in json.loads(found.output)["variables"]}
        assert variables["job.cpu_limit"]["unit"] == "millicores"
        assert variables["job.cpu_limit"]["read_in"] == ["resources"]


def test_an_override_without_a_record_is_told_of_and_is_no_failure(tmp_path: Path) -> None:
    text = OVERRIDES.replace("block extra", "block resources")
    site_templates(tmp_path / "site", {DOCKER: text})

    found = pman("templates", "check", PMAN_TEMPLATES="site")
    took = pman("templates", "check", "--accept", PMAN_TEMPLATES="site")

    assert found.exit_code == 0
    assert found.output.startswith(f"site/{DOCKER}:2: the block resources does not say which")
    assert took.exit_code == 0
    assert "none without a record" in pman("templates", "check", PMAN_TEMPLATES="site").output


# --- explain -------------------------------------------------------------------------------------------

KILLED = str(STATES / "docker/out-of-memory.json")


def test_a_state_is_explained_by_the_rules_that_were_tried() -> None:
    found = pman("explain", KILLED, "--engine", "docker")

    lines = found.output.splitlines()
    tried = [line for line in lines if line.startswith("·")]
    decided = next(index for index, line in enumerate(lines) if line.startswith("✔"))
    assert found.exit_code == 0
    assert tried[0].startswith("· templates/docker/state.yaml:")
    assert lines[decided].endswith("native.State.OOMKilled → finishedWithError")
    assert lines.index(tried[-1]) < decided
    assert "  message   out of memory, killed for using more than 16 MiB of memory (exit code 137)" in lines
    assert "time_limit = 0" in lines


def test_an_explanation_as_json_has_the_answer_of_v1_and_every_rule() -> None:
    data = json.loads(pman("explain", KILLED, "--engine", "docker", "--jid", "j", "--format", "json").output)

    assert data["status"] == 200
    assert set(data["answer"]) == {
        "jid",
        "image",
        "cmd",
        "status",
        "message",
        "timestamp",
        "logs",
        "exit_code",
        "hint",
    }
    assert data["answer"]["jid"] == "j"
    assert data["tried"][-1] == data["decided"]


def test_a_state_is_read_from_stdin_as_docker_inspect_prints_it() -> None:
    native = json.loads(Path(KILLED).read_text())["native"]

    found = pman("explain", "-", stdin=json.dumps([native]))

    assert "  jid       pman-state-out-of-memory" in found.output.splitlines()


def test_a_state_that_pman_answers_with_503_is_explained_too() -> None:
    native = {"State": {"Status": "unknown"}}

    found = pman("explain", "-", "--engine", "podman", stdin=json.dumps(native))

    assert "→ unavailable" in found.output
    assert "503" in found.output.splitlines()


@pytest.mark.parametrize(
    ("stdin", "engine", "told"),
    [
        ("{", "docker", "the state is not JSON"),
        ("[]", "docker", "the state is no JSON object"),
        ("{}", "dokcer", "did you mean docker?"),
    ],
)
def test_what_cannot_be_explained_is_one_line(stdin: str, engine: str, told: str) -> None:
    found = pman("explain", "-", "--engine", engine, stdin=stdin)

    assert found.exit_code == 2
    assert told in found.output
    assert len(found.output.splitlines()) == 1
