"""What is ejected renders as what is shipped, to the letter, and is never written over what a site has."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from pman.errors import ConfigError, EngineUnreachable
from pman.resources import TEMPLATES
from pman.settings import Settings
from pman.translation.inventory.docs import docs
from pman.translation.inventory.inventory import engines
from pman.translation.inventory.record import base, beside, records
from pman.translation.render import Rendering, Templates, loader
from pman.translation.request import RequestParser
from pman.translation.rules import Rules
from pman.translation.statefile import read
from pman.translation.variables import job_variables, site_variables
from pman.workshop.eject import eject
from tests import states
from tests.a_job import FACTS, settings_of, site_templates

REQUESTS = Path(__file__).parents[1] / "requests"
EVERY = tuple(sorted(file.stem for file in REQUESTS.glob("*.json")))
FEW = ("ds-gpu-lungct", "ds-unicode-and-control")
"""Requests that take every branch between them, on the sites below."""

USER = {"CONTAINER_USER": "1000:1001", "TIMELIMIT_MINUTES": "5", "JOB_LABELS": "a=b"}
GROUP = {"CONTAINER_USER": ":1001", "ENABLE_HOME_WORKAROUND": "yes"}
CLUSTER = {"NODE_SELECTOR": "partition=gpu,constraint=a100"}
SLURM = {"SLURMRESTD_URL": "http://slurmrestd:6820", "SLURM_ACCOUNT": "a", "SLURM_QOS": "q", **CLUSTER}
CLAIM = {"STORAGE_TYPE": "kubernetes_pvc", "STOREBASE": "", "VOLUME_NAME": "claim"}
RUNTIMES = ["apptainer", "podman", "docker", "charliecloud", "enroot", "oci", "none"]

SITES: dict[str, list[dict[str, str]]] = {
    "docker": [{}, {**USER, "SHM_SIZE": "64"}, GROUP],
    "podman": [{}, {**USER, "SHM_SIZE": "64"}, GROUP],
    "swarm": [{}, {**USER, "SHM_SIZE": "64", "NODE_SELECTOR": "pool=a,node.role=worker"}, GROUP],
    "kubernetes": [
        {},
        {**USER, **CLAIM, "SHM_SIZE": "64", "NODE_SELECTOR": "pool=a", "IMAGE_PULL_SECRETS": "one,two"},
        GROUP,
    ],
    "cromwell": [
        {"CROMWELL_URL": "http://cromwell:8000", **more}
        for more in ({}, {**USER, **CLUSTER, "SHM_SIZE": "64"}, GROUP)
    ],
    "slurm": [
        *({**SLURM, "SLURM_RUNTIME": runtime} for runtime in RUNTIMES),
        {**SLURM, "SLURM_RUNTIME": "podman", "SHM_SIZE": "64", **USER},
    ],
    "local": [{}, {**USER, "LOCAL_STATE": "/var/lib/pman"}],
}
"""Settings that reach the branches of an engine's templates."""

_VOLUMES = [{}, *({"storebase_volume": {"name": "a", "device": device}} for device in ("/srv/storebase", ""))]
STATEMENTS: dict[str, list[dict[str, Any]]] = {
    "docker": [*_VOLUMES, {"log_driver": "journald"}],
    "podman": [{"subpath": True}, {"subpath": False}],
    "swarm": [*_VOLUMES, {"log_driver": "journald"}],
    "local": [{"namespaces": "none"}, {"namespaces": "user"}],
}
"""What engines may say of themselves."""

TEMPLATE_FILES = [
    (engine.engine, file) for engine in engines([]) for file in engine.files if file.name.endswith(".j2")
]
BLOCKS = [
    (engine, file.name, block.name)
    for engine, file in TEMPLATE_FILES
    for block in (*file.blocks, *file.inherited)
]


@cache
def samples(engine: str, names: tuple[str, ...]) -> tuple[tuple[dict[str, Any], dict[str, Any]], ...]:
    """The variables of these requests on every such site."""
    return tuple(_samples(engine, names))


def _samples(engine: str, names: tuple[str, ...]) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    jobs = [RequestParser({}).parse((REQUESTS / f"{name}.json").read_bytes()) for name in names]
    for environ in SITES[engine]:
        settings: Settings = settings_of(engine, **environ)
        for facts in STATEMENTS.get(engine, [{}]):
            site = site_variables(settings, {**FACTS, **facts})
            yield from ((job_variables(job, settings), site) for job in jobs)


def renderings(engine: str, site: list[Path], names: tuple[str, ...] = EVERY) -> list[Rendering]:
    templates = Templates(engine, loader(*site))
    return [templates.render(job, variables) for job, variables in samples(engine, names)]


@cache
def as_shipped(engine: str, names: tuple[str, ...] = EVERY) -> list[Rendering]:
    return renderings(engine, [], names)


def written(site: Path, name: str, *blocks: str) -> Path:
    """The site's file, with all that belongs to it."""
    found = eject(name, blocks, site)
    for path, text in found.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return next(iter(found))


@pytest.mark.parametrize(("engine", "name", "block"), BLOCKS)
def test_a_block_that_was_ejected_renders_the_same_and_records_what_it_was_made_from(
    engine: str, name: str, block: str, tmp_path: Path
) -> None:
    path = written(tmp_path, name, block)

    assert f"{{% block {block} " in path.read_text()
    assert renderings(engine, [tmp_path], FEW) == as_shipped(engine, FEW)
    (record,) = records(path.read_text())
    assert record.block == block
    assert (TEMPLATES / record.template.removeprefix("builtin/")).is_file()
    assert base(path, record) is not None


@pytest.mark.parametrize(("engine", "file"), TEMPLATE_FILES, ids=lambda value: getattr(value, "name", value))
def test_all_blocks_and_a_whole_file_render_the_same(engine: str, file: Any, tmp_path: Path) -> None:
    names = [block.name for block in (*file.blocks, *file.inherited)]
    written(tmp_path / "together", file.name, *names)
    for name in names:
        written(tmp_path / "one-by-one", file.name, name)
    written(tmp_path / "whole", file.name)

    texts = {site: (tmp_path / site / file.name).read_text() for site in ("together", "one-by-one")}
    assert texts["together"] == texts["one-by-one"]
    assert (tmp_path / "whole" / file.name).read_text().endswith(f"#}}\n{file.text}")
    assert renderings(engine, [tmp_path / "together"]) == as_shipped(engine)
    assert renderings(engine, [tmp_path / "whole"], FEW) == as_shipped(engine, FEW)


@pytest.mark.parametrize(("engine", "file"), TEMPLATE_FILES, ids=lambda value: getattr(value, "name", value))
def test_the_samples_reach_every_variable_that_a_template_names(engine: str, file: Any) -> None:
    named = {variable.name for variable in docs(file.name, []).variables if variable.read_in}

    read = frozenset().union(*(rendering.read for rendering in as_shipped(engine, FEW)))

    assert named
    assert named <= read


def test_a_file_that_is_there_is_added_to_and_its_edits_stay(tmp_path: Path) -> None:
    name = "docker/container.yaml.j2"
    path = written(tmp_path, name, "shm")
    edited = path.read_text().replace("ShmSize:", "# ours\n  ShmSize:")
    path.write_text(edited)

    written(tmp_path, name, "gpu", "gpu")

    assert path.read_text().startswith(edited.rstrip("\n"))
    assert [made.block for made in records(path.read_text())] == ["shm", "gpu"]
    assert all(base(path, made) for made in records(path.read_text()))


@pytest.mark.parametrize(
    ("there", "blocks", "told"),
    [
        ("{% extends 'builtin/docker/container.yaml.j2' %}\n{% block gpu %}{% endblock %}\n", ["shm", "gpu"],
         r"the block gpu is there already"),
        ("{% extends 'builtin/docker/container.yaml.j2' %}\n", [], r"is not overwritten; name a --block"),
        ("Image: {{ job.image }}\n", ["gpu"], r"extends nothing"),
        ("{% block %}", ["gpu"], r"line 1"),
        (None, ["resuorces"], r"no block resuorces .*did you mean resources\?"),
    ],
)  # fmt: skip
def test_what_cannot_be_ejected_is_told_and_nothing_changes(
    there: str | None, blocks: list[str], told: str, tmp_path: Path
) -> None:
    name = "docker/container.yaml.j2"
    site_templates(tmp_path, {name: there} if there else {})

    with pytest.raises(ConfigError) as raised:
        written(tmp_path, name, *blocks)

    text = "; ".join(map(str, raised.value.faults)) or str(raised.value)
    assert re.search(told, text)
    assert (tmp_path / name).read_text() == there if there else not (tmp_path / name).exists()
    assert not beside(tmp_path / name).exists()


def test_a_template_that_is_not_shipped_is_told_with_what_was_meant(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"did you mean builtin/kubernetes/job\.yaml\.j2"):
        eject("kubernetes/jobs.yaml.j2", (), tmp_path)


def outcome(rules: Rules, native: Mapping[str, Any]) -> object:
    try:
        return rules.read("a-job", native)
    except EngineUnreachable as error:
        return str(error)


@pytest.mark.parametrize("engine", list(SITES))
def test_rules_that_were_ejected_decide_as_the_shipped_ones(engine: str, tmp_path: Path) -> None:
    written(tmp_path, f"{engine}/state.yaml")

    ours, shipped = Rules(engine, loader(tmp_path)), Rules(engine, loader())
    for state in states.recorded(engine):
        native = states.native(engine, state)
        assert outcome(ours, native) == outcome(shipped, native)


@pytest.mark.parametrize("engine", list(SITES))
def test_the_example_among_ejected_rules_is_a_rule_when_it_is_uncommented(
    engine: str, tmp_path: Path
) -> None:
    path = written(tmp_path, f"{engine}/state.yaml")
    head, example = path.read_text().split("for an example:\n")

    path.write_text(f"{head}\n{example.replace('# ', '')}")

    (ours, *_), (shipped, *_) = (
        read(loader(*site), f"{engine}/state.yaml").rules() for site in ([tmp_path], [])
    )
    assert (ours.source, ours.file) == (shipped.source, str(path))


def test_rules_have_no_blocks_and_are_not_overwritten(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="rules and no blocks"):
        eject("docker/state.yaml", ["rules"], tmp_path)

    written(tmp_path, "docker/state.yaml")
    with pytest.raises(ConfigError, match="is there already"):
        eject("docker/state.yaml", (), tmp_path)
