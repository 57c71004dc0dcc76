from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import venv
from collections.abc import Mapping
from pathlib import Path

import pytest
import requests

from pman.cli.demo import input as demo_input
from pman.cli.demo import plugin as demo_plugin
from pman.cli.demo.engines import Unsuitable, names
from pman.cli.demo.server import serving
from tests import engines
from tests.engines import registry
from tests.live import DEADLINE, inherited, program

NOWHERE = "unix:///nonexistent/engine.sock"


def environment(temporary: Path, **variables: str) -> dict[str, str]:
    """No engine but those that are named, and a place where leftovers are seen."""
    return {
        **inherited(),
        "DOCKER_HOST": NOWHERE,
        "CONTAINER_HOST": NOWHERE,
        "TMPDIR": str(temporary),
        **variables,
    }


def demo(
    *words: str, environ: Mapping[str, str], python: str = sys.executable
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [python, "-m", "pman", "demo", *words],
        env=dict(environ),
        cwd=environ["TMPDIR"],
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )


@pytest.fixture(params=names(None))
def engine(request: pytest.FixtureRequest) -> engines.Engine:
    return engines.need(request.param)


def server_of(output: str) -> str:
    found = re.search(r"http://127\.0\.0\.1:\d+/api/v1/", output)
    assert found, output
    return found[0]


def assert_gone(output: str, temporary: Path) -> None:
    with pytest.raises(requests.ConnectionError):
        requests.get(server_of(output), timeout=5)
    assert not list(temporary.glob("pman-demo-*"))


def test_the_demo_tells_the_story_of_a_real_job_and_leaves_nothing_behind(
    engine: engines.Engine, tmp_path: Path
) -> None:
    done = demo("--engine", engine.name, environ=environment(tmp_path, **engine.environment))

    assert done.returncode == 0, done.stdout + done.stderr
    chapters = ["The request", "What it becomes", "Its status", "Its log", "Its files"]
    assert [done.stdout.index(chapter) for chapter in chapters] == sorted(
        done.stdout.index(chapter) for chapter in chapters
    )
    assert "finishedSuccessfully" in done.stdout
    assert re.search(r"→ +(le-|mask-)\S+\.\w+ ", done.stdout)
    assert_gone(done.stdout, tmp_path)
    if engine.native:
        jid = re.search(r'"jid": "(demo-\w+)"', done.stdout)
        assert jid
        assert not engine.native.containers.list(all=True, filters={"name": jid[1]})


def test_the_demo_goes_on_to_the_local_engine_where_no_other_answers(tmp_path: Path) -> None:
    done = demo(environ=environment(tmp_path))

    assert done.returncode == 0, done.stdout + done.stderr
    assert "docker: it does not answer at unix:///nonexistent/engine.sock" in done.stdout
    assert "podman: it does not answer" in done.stdout
    assert "summary.json" in done.stdout


def test_the_demo_goes_on_where_an_engine_has_no_image_and_cannot_pull_one(tmp_path: Path) -> None:
    docker = engines.need("docker")

    done = demo("--image", "localhost:1/nope:1", environ=environment(tmp_path, **docker.environment))

    assert done.returncode == 0, done.stdout + done.stderr
    assert "it has no image for the demo and cannot pull one" in done.stdout
    assert "summary.json" in done.stdout


def test_the_demo_pulls_an_image_and_goes_on_where_its_job_fails(tmp_path: Path) -> None:
    docker = engines.need("docker")
    assert docker.native
    with registry.serving(docker.native.images.get(engines.IMAGE)) as running:
        running.open.set()
        image = running.reference("pman/has-no-simpledsapp")

        done = demo("--image", image, environ=environment(tmp_path, **docker.environment))

        docker.native.images.remove(image, force=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"docker is pulling {image}" in done.stdout
    assert re.search(r"docker: its job ended as finishedWithError: .*simpledsapp", done.stdout)
    assert "summary.json" in done.stdout


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    """What a demo with --keep prints amid another pman's configuration, and where it keeps its files."""
    directory = tmp_path_factory.mktemp("kept")
    (directory / ".env").write_text("SHM_SIZE=much\n")
    foreign = {"CONTAINER_ENV": "cromwell", "CROMWELL_URL": "http://127.0.0.1:1", "JOB_LOGS_TAIL": "x"}

    done = demo("--keep", environ=environment(directory, **foreign, **engines.need("docker").environment))

    assert done.returncode == 0, done.stdout + done.stderr
    (files,) = directory.glob("pman-demo-*")
    return done.stdout, files


def test_the_demo_takes_docker_first_and_does_not_heed_what_configures_another_pman(
    kept: tuple[str, Path],
) -> None:
    output, _ = kept

    assert output.startswith("✔ Docker ")
    assert "finishedSuccessfully" in output


def test_the_demo_masks_the_token_in_the_document(kept: tuple[str, Path]) -> None:
    output, _ = kept

    assert output.count("rudolphs-secret") == 1  # in the request
    assert "CHRIS_USER_TOKEN=********" in output


def test_the_demo_keeps_the_files_when_asked_to(kept: tuple[str, Path]) -> None:
    output, files = kept

    assert str(files) in output
    assert len(list(files.glob("storebase/*/outgoing/le-*"))) == demo_input.SLICES + 1


def test_the_demo_of_one_engine_fails_where_that_one_does_not_answer(tmp_path: Path) -> None:
    done = demo("--engine", "podman", environ=environment(tmp_path))

    assert done.returncode == 1
    assert "podman: it does not answer at unix:///nonexistent/engine.sock" in done.stdout


def test_the_demo_names_the_engines_that_it_can_use(tmp_path: Path) -> None:
    done = demo("--engine", "slurm", environ=environment(tmp_path))

    assert done.returncode == 2
    assert "the demo can use docker, podman, local" in done.stderr


@pytest.mark.parametrize(("how", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupted_demo_takes_its_server_its_job_and_its_files_along(
    how: signal.Signals, code: int, tmp_path: Path
) -> None:
    docker = engines.need("docker")
    assert docker.native
    command = [sys.executable, "-m", "pman", "demo", "--engine", "docker"]
    environ = environment(tmp_path, **docker.environment)
    with program(*command, env=environ, cwd=tmp_path, stdout=subprocess.PIPE) as process:
        assert process.stdout
        output = ""
        while "started" not in output and (line := process.stdout.readline()):
            output += line

        process.send_signal(how)
        process.communicate(timeout=DEADLINE)

    assert process.returncode == code
    assert_gone(output, tmp_path)
    (jid,) = re.findall(r'"jid": "(demo-\w+)"', output)
    assert not docker.native.containers.list(all=True, filters={"name": jid})


def test_the_demo_runs_from_a_wheel_outside_the_checkout(dist: Path, tmp_path: Path) -> None:
    (wheel,) = dist.glob("pman-*.whl")
    python = installed(wheel, tmp_path / "installed")
    where = subprocess.run(
        [python, "-c", "import pman; print(pman.__file__)"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )

    done = demo("--engine", "local", environ=environment(tmp_path), python=python)

    assert str(tmp_path) in where.stdout
    assert done.returncode == 0, done.stdout + done.stderr


def installed(wheel: Path, directory: Path) -> str:
    """The Python of a new environment with this wheel, which borrows what the wheel depends on."""
    venv.create(directory, symlinks=True)
    (site,) = directory.glob("lib/python*/site-packages")
    subprocess.run([sys.executable, "-m", "zipfile", "-e", str(wheel), str(site)], check=True)
    borrowed = next(path for path in sys.path if path.endswith("site-packages"))
    (site / "dependencies.pth").write_text(f"{borrowed}\n")
    return str(directory / "bin/python")


# --- the server of the demo's own ----------------------------------------------------------------


def test_a_server_that_does_not_start_is_told_with_its_own_words(tmp_path: Path) -> None:
    environ = environment(tmp_path, CONTAINER_ENV="dokcer")

    with pytest.raises(Unsuitable, match="CONTAINER_ENV='dokcer'"), serving(environ, tmp_path):
        pass


def test_a_server_whose_engine_does_not_answer_is_no_stage(tmp_path: Path) -> None:
    environ = environment(tmp_path, CONTAINER_ENV="docker", STORAGE_TYPE="host", STOREBASE=str(tmp_path))

    with pytest.raises(Unsuitable, match="Docker does not answer"), serving(environ, tmp_path):
        pass


# --- the plugin and its input --------------------------------------------------------------------


def test_the_plugin_masks_the_bright_tissue_of_each_image(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    incoming, outgoing = tmp_path / "in", tmp_path / "out"
    incoming.mkdir()
    outgoing.mkdir()
    demo_input.write(incoming)

    demo_plugin.main(["--threshold", "200", str(incoming), str(outgoing)])

    assert "3 images" in capsys.readouterr().out
    summary = json.loads((outgoing / "summary.json").read_text())
    assert set(summary) == {"slice-1.pgm", "slice-2.pgm", "slice-3.pgm"}
    assert sum(summary["slice-1.pgm"]["histogram"]) == demo_input.SIZE**2
    _, _, mask = demo_plugin.read_pgm((outgoing / "mask-slice-1.pgm").read_bytes())
    assert summary["slice-1.pgm"]["masked"] == round(mask.count(255) / len(mask), 4) > 0


def test_the_plugin_fails_without_an_image(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="1"):
        demo_plugin.main([str(tmp_path), str(tmp_path)])

    assert "no *.pgm" in capsys.readouterr().err


def test_an_image_whose_first_grey_is_a_blank_is_read_whole() -> None:
    assert demo_plugin.read_pgm(b"P5\n2 1\n255\n \n") == (2, 1, b" \n")


def test_an_image_of_another_kind_is_refused() -> None:
    with pytest.raises(ValueError, match="binary PGM"):
        demo_plugin.read_pgm(b"P2\n2 1\n255\n0 1\n")
