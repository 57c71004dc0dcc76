"""The examples of site templates do what they say, and become what their golden files show."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import kubernetes_validate  # type: ignore[import-untyped]  # it has no types
import pytest
import yaml

from pman import schema
from pman.errors import BadRequest
from pman.settings import engine_schema, properties
from pman.translation.diff import changes
from pman.translation.inventory import inventory
from pman.translation.preview import Preview, Previews
from pman.translation.translation import Translation
from pman.workshop import drift, golden
from tests.a_job import FACTS, a_job, content, site_templates
from tests.examples import EXAMPLES, FOUND, Example, example

KUBERNETES = ["1.25", "1.28", "1.31", "1.34", "1.37"]
VERSIONS = {"log-sidecar": ["1.31", "1.34", "1.37"]}
"""Of Kubernetes, whose schemas the documents satisfy, where these are not all of KUBERNETES."""

DIRECTORIES = sorted({given.directory for given in FOUND})
by_example = pytest.mark.parametrize("given", FOUND, ids=str)


@cache
def rendered(given: Example) -> Mapping[str, Preview]:
    return golden.previews(golden.requests(EXAMPLES, given.engine), given.settings())


@cache
def translation(given: Example) -> Translation:
    return Translation(given.settings())


# --- all of them -------------------------------------------------------------------------------------


@by_example
def test_an_example_becomes_its_golden_files(given: Example, request: pytest.FixtureRequest) -> None:
    files = golden.files(rendered(given))

    if request.config.getoption("--update-golden", default=False):
        golden.write(given.directory / "golden", files)
    assert golden.compare(given.directory / "golden", files) == ()


@pytest.mark.parametrize(
    "directory", sorted({given.directory for given in FOUND}), ids=lambda path: path.name
)
def test_no_golden_file_of_an_example_is_left_over(directory: Path) -> None:
    held = {str(file.relative_to(directory / "golden")) for file in (directory / "golden").rglob("*.*")}

    listed = (directory / "golden" / golden.LIST).read_text().splitlines()
    engines = {given.engine for given in FOUND if given.directory == directory}

    assert held - {golden.LIST} == set(listed)
    assert {file.partition("/")[0] for file in listed} == engines


@by_example
def test_the_engine_knows_all_that_an_example_sends(given: Example) -> None:
    known = properties(engine_schema(given.engine, "documents"))

    for preview in rendered(given).values():
        for document in preview.documents:
            if given.engine == "kubernetes":
                for version in VERSIONS.get(given.directory.name, KUBERNETES):
                    kubernetes_validate.validate(as_json(document.content), version, strict=True)
            else:
                assert schema.faults(schema.validator(known[document.name]), document.content) == []
            if document.name.endswith(".sh"):
                subprocess.run(["bash", "-n"], input=document.text.encode(), check=True)


@by_example
def test_an_example_changes_what_is_sent_and_keeps_what_pman_needs(given: Example) -> None:
    both = Previews(given.settings(), [given.engine])
    body = (
        EXAMPLES / "lungct-gpu.json" if given.engine != "podman" else EXAMPLES / "simpledsapp.json"
    ).read_bytes()

    new, old = both.preview(body), both.preview(body, templates="builtin")

    assert (new.faults, old.faults) == ((), ())
    found = changes(old.documents, new.documents)
    assert found
    assert not [change.path for change in found if "abels" in change.path]


@pytest.mark.parametrize("directory", DIRECTORIES, ids=lambda path: path.name)
def test_an_example_is_made_from_what_is_shipped_now(directory: Path) -> None:
    """After a change of a shipped block: `pman templates check --accept`, once the example follows."""
    found = drift.overrides(inventory.engines([directory / "templates"]))

    assert [override.block for override in found if override.drifted or not override.recorded] == []


def test_every_example_is_told_of_and_tells_how_it_is_used() -> None:
    index = (EXAMPLES / "README.md").read_text()

    for given in FOUND:
        name, own = given.directory.name, (given.directory / "README.md").read_text()
        assert f"]({name}/README.md)" in index
        assert re.search(rf"\b{given.file}\b", own), f"{name}: {given.file} is not told of"
        for file in given.directory.iterdir():
            known = file.name in own or file.suffix == ".env" or file.name in ("README.md", "golden")
            assert known or file.name == "templates", f"{name}/README.md does not tell of {file.name}"


@pytest.mark.parametrize("file", sorted(EXAMPLES.glob("*/*.yaml")), ids=lambda path: path.parent.name)
def test_what_an_admin_applies_by_hand_is_valid(file: Path) -> None:
    for version in ("1.25", "1.31", "1.37"):
        kubernetes_validate.validate(yaml.safe_load(file.read_text()), version, strict=True)


def as_json(content: object) -> Any:
    return json.loads(json.dumps(content))


# --- each of them ------------------------------------------------------------------------------------


def pod(given: Example, **job: Any) -> Mapping[str, Any]:
    found = content(translation(given), a_job(**job))["spec"]["template"]["spec"]
    assert isinstance(found, Mapping)
    return found


def test_only_jobs_that_ask_for_a_gpu_go_to_the_pool() -> None:
    given = example("gpu-pool", "kubernetes")

    with_gpu, without = pod(given, gpu_limit=1), pod(given, gpu_limit=0)

    assert with_gpu["tolerations"][0]["key"] == "nvidia.com/gpu"
    assert with_gpu["runtimeClassName"] == "nvidia"
    assert not {"tolerations", "affinity", "runtimeClassName"} & set(without)


@pytest.mark.parametrize(
    ("image", "mirrored"),
    [
        ("docker.io/fnndsc/pl-x:1", "docker.io/fnndsc/pl-x:1"),
        ("fnndsc/pl-x:1", "docker.io/fnndsc/pl-x:1"),
        ("busybox", "docker.io/busybox"),
        ("ghcr.io/org/pl-x@sha256:0", "ghcr.io/org/pl-x@sha256:0"),
        ("localhost:5000/pl-x", "localhost:5000/pl-x"),
        ("registry.example.org/own/pl-x:1", "own/pl-x:1"),
        ('a/"b', 'docker.io/a/"b'),
    ],
)
def test_every_image_is_taken_from_the_sites_registry_under_its_full_name(image: str, mirrored: str) -> None:
    job = a_job(image=image)

    docker, swarm, kubernetes = (
        content(translation(example("private-registry", engine)), job)
        for engine in ("docker", "swarm", "kubernetes")
    )

    wanted = f"registry.example.org/{mirrored}"
    assert docker["Image"] == wanted
    assert swarm["TaskTemplate"]["ContainerSpec"]["Image"] == wanted
    assert kubernetes["spec"]["template"]["spec"]["containers"][0]["image"] == wanted


def test_the_sidecar_is_no_container_that_a_job_waits_for() -> None:
    found = pod(example("log-sidecar", "kubernetes"))

    (sidecar,) = found["initContainers"]
    assert sidecar["restartPolicy"] == "Always"
    assert [container["name"] for container in found["containers"]] == ["plugin"]
    assert found["securityContext"]["runAsUser"] == 1001
    assert sidecar["securityContext"]["runAsUser"] == 0


def test_the_sidecars_configuration_is_yaml_and_uses_only_what_the_sidecar_is_given() -> None:
    (sidecar,) = pod(example("log-sidecar", "kubernetes"))["initContainers"]
    text = yaml.safe_load((EXAMPLES / "log-sidecar/configmap.yaml").read_text())["data"]["fluent-bit.yaml"]

    given = {variable["name"] for variable in sidecar["env"]}

    assert yaml.safe_load(text)["pipeline"]["inputs"][0]["path"].startswith(
        sidecar["volumeMounts"][0]["mountPath"]
    )
    assert set(re.findall(r"\$\{(\w+)\}", text)) <= given


SRUN = """#!/bin/bash
printf '%%s\\n' "$@" >%s/words
exit 3
"""


def test_pyxis_is_told_the_options_of_the_site_and_the_command(tmp_path: Path) -> None:
    given = example("slurm-pyxis", "slurm")
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/srun").write_text(SRUN % tmp_path)
    (tmp_path / "bin/srun").chmod(0o755)
    (tmp_path / "jobs/chris-jid-42").mkdir(parents=True)
    job, base = a_job(args=("a b", "$(id)")), tmp_path / "base"
    for directory in (job.input_dir, job.output_dir):
        (base / directory).mkdir(parents=True)
    made = Translation(given.settings(SLURM_DIRECTORY=str(tmp_path), STOREBASE=str(base)))
    script = next(doc for doc in made.render(job, {"storebase": str(base)}) if doc.name == "job.sh")
    path = {"PATH": f"{tmp_path}/bin:/usr/bin:/bin", "SLURM_JOB_ID": "7"}

    (tmp_path / "script").write_text(script.text)
    done = subprocess.run(["bash", tmp_path / "script"], env=path, check=False, capture_output=True)

    words = (tmp_path / "words").read_text().splitlines()
    assert done.returncode == 3, done.stderr
    assert {"--no-container-remap-root", "--container-writable", "--container-workdir=/tmp"} <= set(words)
    assert words[words.index("--container-image") + 1] == "docker.io#fnndsc/pl-simpledsapp:2.1.0"
    assert words[-3:] == ["simpledsapp", "a b", "$(id)"]


@pytest.mark.parametrize(("gpus", "partition", "gres"), [(0, "cpu", None), (2, "gpu", "gpu:a100:2")])
def test_slurm_jobs_go_to_the_partition_that_has_what_they_ask_for(
    gpus: int, partition: str, gres: str | None
) -> None:
    job, _ = translation(example("slurm-pyxis", "slurm")).render(a_job(gpu_limit=gpus), FACTS)

    found = as_json(job.content)["job"]

    assert (found["partition"], found.get("gres")) == (partition, gres)


# --- the policy of the hardened site -----------------------------------------------------------------


def openings() -> Iterator[tuple[str, str, str]]:
    """Engine, block and text of a template that makes a job less closed than the policy wants it."""
    for line in (
        "Privileged: true",
        "Binds: [/:/host]",
        "CapAdd: [SYS_ADMIN]",
        "Devices: [{PathOnHost: /dev/sda, PathInContainer: /dev/sda}]",
    ):
        yield "docker", "extra", f"  {line}\n"
    yield "docker", "user", "\n"
    yield "docker", "security", "  CapDrop: [ALL]\n"
    yield "docker", "network", "  NetworkMode: bridge  # not {{ site.job_network }}\n"
    yield "docker", "processes", "  # not {{ site.job_pids_limit }}\n"
    for line in ("hostNetwork: true", "hostPID: true", "hostIPC: true"):
        yield "kubernetes", "extra", f"      {line}\n      hostUsers: false\n"
    yield "kubernetes", "extra", "      dnsPolicy: Default\n"
    yield "kubernetes", "pod_security", "        {runAsUser: {{ job.uid }}, runAsNonRoot: false}\n"
    yield "kubernetes", "security", "            allowPrivilegeEscalation: false\n"
    yield "kubernetes", "sidecars", "        - {name: other, image: other}\n"


@pytest.mark.parametrize(("engine", "block", "text"), list(openings()))
def test_no_template_opens_a_job_of_the_hardened_site(
    tmp_path: Path, engine: str, block: str, text: str
) -> None:
    given = example("hardened", engine)
    (file,) = (given.directory / "templates" / engine).glob("*.j2")
    closed = file.read_text()
    if f"block {block} %}}" in closed:
        closed = re.sub(rf"{{% block {block} %}}.*?{{% endblock %}}\n", "", closed, flags=re.DOTALL)
    opened = f"{closed}{{% block {block} %}}\n{text}{{% endblock %}}\n"
    site = site_templates(tmp_path, {f"{engine}/{file.name}": opened})
    job = a_job(env=("CHRIS_USER_TOKEN=open-sesame",))

    with pytest.raises(BadRequest, match=r"not allowed by the site's policy"):
        Translation(given.settings(PMAN_TEMPLATES=str(site))).render(job, FACTS)
