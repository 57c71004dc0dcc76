"""After an upgrade: which of a site's overrides were made from something that is shipped no more."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from pman.errors import ConfigError
from pman.resources import SCHEMA, TEMPLATES
from pman.translation.inventory.inventory import engines
from pman.translation.inventory.record import Record, beside, records
from pman.translation.sources import body, digest
from pman.workshop.drift import Override, accepted, overrides
from pman.workshop.eject import eject
from tests.a_job import site_templates

DOCKER, PODMAN = "docker/container.yaml.j2", "podman/container.yaml.j2"
EXTENDS = f'{{% extends "builtin/{DOCKER}" %}}\n'


def write(found: dict[Path, str]) -> None:
    for path, text in found.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def ejected(site: Path, name: str, *blocks: str) -> Path:
    found = eject(name, blocks, site)
    write(dict(found))
    return next(iter(found))


def made_before(path: Path, change: Callable[[str], str]) -> None:
    """As if it had been made from a pman that shipped another text: the change turned round."""
    kept = beside(path)
    was = change(kept.read_text())
    assert was != kept.read_text()
    kept.write_text(was)
    text = path.read_text()
    for made in records(text):
        found = re.search(rf"\{{% block {made.block} %\}}.*?\{{% endblock %\}}", was, re.DOTALL)
        old = Record(
            made.template, made.block, "6.9.0", digest(body(found[0]) if made.block and found else was)
        )
        text = text.replace(str(made), str(old))
    path.write_text(text)


def found_in(site: Path) -> tuple[tuple[Override, ...], tuple[Override, ...]]:
    found = overrides(engines([site]))
    return tuple(each for each in found if each.drifted), unrecorded(site)


def unrecorded(*sites: Path) -> tuple[Override, ...]:
    return tuple(override for override in overrides(engines(sites)) if override.recorded is None)


def names(found: tuple[Override, ...]) -> list[tuple[str, str]]:
    return [(override.name, override.block) for override in found]


def test_what_was_just_ejected_has_not_drifted_and_is_recorded(tmp_path: Path) -> None:
    for engine in engines([]):
        for file in engine.files:
            blocks = [block.name for block in (*file.blocks, *file.inherited)]
            ejected(tmp_path, file.name, *blocks)

    assert found_in(tmp_path) == ((), ())
    assert len(overrides(engines([tmp_path]))) > 80


def test_a_block_that_is_shipped_otherwise_now_has_drifted(tmp_path: Path) -> None:
    path = ejected(tmp_path, DOCKER, "resources", "gpu")
    made_before(path, lambda text: text.replace("MemorySwap", "MemoryReservation"))

    ((drifted,), silent) = found_in(tmp_path)

    assert (drifted.name, drifted.block, drifted.path, silent) == (DOCKER, "resources", path, ())
    assert path.read_text().splitlines()[drifted.line - 1] == "{% block resources %}"
    assert "MemoryReservation" in (drifted.base or "")
    assert "MemorySwap" in (drifted.shipped or "")
    assert drifted.recorded and drifted.recorded.version == "6.9.0"


def test_a_copy_of_a_whole_file_drifts_as_a_whole(tmp_path: Path) -> None:
    path = ejected(tmp_path, PODMAN)
    made_before(path, lambda text: text.replace("Podman takes devices", "Podman 3 drops devices"))

    ((drifted,), silent) = found_in(tmp_path)

    assert (drifted.block, drifted.template, silent) == ("", f"builtin/{PODMAN}", ())
    assert "Podman 3 drops devices" in (drifted.base or "")


def test_a_change_is_seen_without_the_text_that_was_kept(tmp_path: Path) -> None:
    path = ejected(tmp_path, DOCKER, "resources")
    made_before(path, lambda text: text.replace("MemorySwap", "MemoryReservation"))
    beside(path).unlink()

    ((drifted,), _) = found_in(tmp_path)

    assert drifted.base is None


@pytest.mark.parametrize(
    "broken", ["", "{% block resources %}", "{% block resources %}\nother{% endblock %}"]
)
def test_a_kept_text_that_is_not_the_recorded_one_is_not_taken_for_it(tmp_path: Path, broken: str) -> None:
    path = ejected(tmp_path, DOCKER, "resources")
    beside(path).write_text(broken)

    (override,) = overrides(engines([tmp_path]))

    assert (override.base, override.drifted) == (None, False)


def test_a_block_that_is_shipped_no_more_has_drifted_and_cannot_be_accepted(tmp_path: Path) -> None:
    record = Record(f"builtin/{DOCKER}", "capabilities", "6.9.0", digest("CapAdd: []\n"))
    text = f"{EXTENDS}{{# {record} #}}\n{{% block capabilities %}}\nCapAdd: []\n{{% endblock %}}\n"
    site = site_templates(tmp_path, {DOCKER: text})

    ((drifted,), _) = found_in(site)

    assert (drifted.block, drifted.shipped) == ("capabilities", None)
    with pytest.raises(ConfigError, match="shipped no more"):
        accepted([drifted])


@pytest.mark.parametrize(
    ("text", "asked"),
    [
        (f"{EXTENDS}{{% block resources %}}  Memory: 1\n{{% endblock %}}\n", [(DOCKER, "resources")]),
        (f"{EXTENDS}{{% block resources %}}{{{{ super() }}}}  OomScoreAdj: 1\n{{% endblock %}}\n", []),
        (f"{EXTENDS}{{% block extra %}}  ReadonlyRootfs: true\n{{% endblock %}}\n", []),
        ("Image: {{ job.image }}\n", [(DOCKER, "")]),
        ("{% extends 'docker/_ours.j2' %}{% block resources %}  Memory: 1\n{% endblock %}", [
            (DOCKER, "resources")]),
    ],
)  # fmt: skip
def test_a_record_is_asked_for_where_a_change_would_go_unseen(
    tmp_path: Path, text: str, asked: list[tuple[str, str]]
) -> None:
    site = site_templates(tmp_path, {DOCKER: text, "docker/_ours.j2": EXTENDS})

    assert names(found_in(site)[1]) == asked


def test_only_what_is_found_first_is_looked_at(tmp_path: Path) -> None:
    first = site_templates(tmp_path / "1", {DOCKER: EXTENDS})
    second = site_templates(
        tmp_path / "2", {DOCKER: f"{EXTENDS}{{% block resources %}}a: 1\n{{% endblock %}}\n"}
    )

    assert names(unrecorded(first, second)) == []
    assert names(unrecorded(second, first)) == [(DOCKER, "resources")]


def test_a_further_document_of_a_site_overrides_nothing(tmp_path: Path) -> None:
    site = site_templates(tmp_path, {"kubernetes/quota.yaml.j2": "kind: ConfigMap\n"})

    assert found_in(site) == ((), ())


def test_what_was_accepted_has_not_drifted_and_keeps_its_edits(tmp_path: Path) -> None:
    path = ejected(tmp_path, DOCKER, "resources", "gpu")
    made_before(path, lambda text: text.replace("MemorySwap", "MemoryReservation").replace("[gpu]", "[tpu]"))
    text = path.read_text().replace("NanoCpus", "# ours\n  NanoCpus")
    path.write_text(f"{text}{{% block user %}}\nUser: nobody\n{{% endblock %}}\n")
    (drifted, silent) = found_in(tmp_path)
    assert [override.block for override in (*drifted, *silent)] == ["resources", "gpu", "user"]

    write(dict(accepted((*drifted, *silent))))

    assert found_in(tmp_path) == ((), ())
    assert all(override.base == override.shipped for override in overrides(engines([tmp_path])))

    def unsaid(text: str) -> str:
        return re.sub(r"\{# pman: made from .*? #\}\n", "", text)

    assert unsaid(path.read_text()) == unsaid(f"{text}{{% block user %}}\nUser: nobody\n{{% endblock %}}\n")


@pytest.mark.parametrize("name", [DOCKER, "docker/state.yaml"])
def test_a_file_that_stands_in_for_a_shipped_one_can_be_accepted(tmp_path: Path, name: str) -> None:
    shipped = (TEMPLATES / name).read_text()
    site = site_templates(tmp_path, {name: shipped})

    write(dict(accepted(found_in(site)[1])))

    assert found_in(site) == ((), ())
    (override,) = overrides(engines([site]))
    assert (override.base, override.site) == (shipped, shipped)


@pytest.fixture
def upgraded(tmp_path: Path) -> Path:
    """Another pman, whose templates are not those of this one."""
    package = Path(sys.modules["pman"].__file__ or "").parent
    other = tmp_path / "upgraded"
    shutil.copytree(package, other / "pman", ignore=shutil.ignore_patterns("shipped", "__pycache__"))
    shutil.copytree(TEMPLATES, other / "templates")
    shutil.copytree(SCHEMA, other / "schema")
    template = other / "templates" / DOCKER
    text = template.read_text()
    template.write_text(text.replace("  MemorySwap:", "  MemorySwappiness: 0\n  MemorySwap:"))
    assert template.read_text() != text
    return other


def test_an_upgrade_is_told_as_a_difference_of_three_until_it_is_accepted(
    tmp_path: Path, upgraded: Path
) -> None:
    path = ejected(tmp_path / "site", DOCKER, "resources")
    path.write_text(path.read_text().replace("  Memory:", "  OomScoreAdj: 512\n  Memory:"))

    def pman(*words: str) -> subprocess.CompletedProcess[str]:
        code = "from pman.cli.main import main; main(prog_name='pman')"
        environ = {**os.environ, "PYTHONPATH": str(upgraded), "PMAN_TEMPLATES": "site"}
        return subprocess.run(
            [sys.executable, "-c", code, "templates", "check", *words],
            cwd=tmp_path,
            env=environ,
            capture_output=True,
            text=True,
            check=False,
        )

    found = pman()
    assert (found.returncode, found.stderr) == (1, "")
    assert f"site/{DOCKER}:4: the block resources was made from that of pman " in found.stdout
    lines = [line.strip(" ") for line in found.stdout.splitlines()]
    assert "+  MemorySwappiness: 0" in [re.sub(r"^(\+) +", r"\1  ", line) for line in lines]
    assert "+   OomScoreAdj: 512" in lines
    (data,) = json.loads(pman("--format", "json").stdout)
    assert data["drifted"] and "MemorySwappiness" in data["shipped"] and data["base"] != data["shipped"]

    took = pman("--accept", DOCKER)

    assert took.stdout.split() == [f"site/{DOCKER}", f"site/{DOCKER}.base"]
    again = pman()
    assert (again.returncode, again.stdout) == (
        0,
        "1 override: none drifted, none without a record\n",
    )
