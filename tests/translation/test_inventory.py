"""What is shipped, what a site has of its own, and which overrides which."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from pman.errors import ConfigError, Fault
from pman.resources import TEMPLATES
from pman.translation.inventory.blocks import blocks_of, header
from pman.translation.inventory.inventory import TemplateFile, engines, find
from pman.translation.sources import SYNTAX, digest, parsed
from tests.a_job import ENGINES, site_templates

SHIPPED = [file for engine in engines([]) for file in engine.files]
DOCKER, PODMAN = "docker/container.yaml.j2", "podman/container.yaml.j2"


def a_site(directory: Path, **files: str) -> tuple[TemplateFile, ...]:
    """The files of docker and podman, with a site's own templates of them."""
    texts = {f"{engine}/container.yaml.j2": text for engine, text in files.items()}
    found = engines([site_templates(directory, texts)])
    return tuple(file for engine in found if engine.engine in ("docker", "podman") for file in engine.files)


def extending(engine: str, *blocks: str) -> str:
    return f'{{% extends "builtin/{engine}/container.yaml.j2" %}}\n' + "".join(
        f"{{% block {name} %}}{{% endblock %}}\n" for name in blocks
    )


def test_every_file_that_is_shipped_is_found_with_its_engine() -> None:
    files = {path.relative_to(TEMPLATES).as_posix() for path in TEMPLATES.rglob("*") if path.is_file()}

    assert [engine.engine for engine in engines([])] == ENGINES
    assert {file.name for file in SHIPPED} == files
    assert all(engine.rules for engine in engines([]))


@pytest.mark.parametrize("file", SHIPPED, ids=lambda file: file.name)
def test_every_block_is_found_to_the_letter(file: TemplateFile) -> None:
    begun = re.findall(r"\{% block (\w+) %\}", file.text)

    assert [block.name for block in file.blocks] == begun
    for block in file.blocks:
        assert block.source in file.text
        assert file.text.splitlines()[block.line - 1].lstrip().find(f"{{% block {block.name} %}}") >= 0
        assert re.fullmatch(r"\{% block \w+ %\}(?s:.*)\{% endblock %\}", block.source)
        assert block.source.count("endblock") == 1


@pytest.mark.parametrize("file", SHIPPED, ids=lambda file: file.name)
def test_every_file_and_every_block_of_it_is_documented_at_its_top(file: TemplateFile) -> None:
    documented = header(parsed(file.name, file.path, file.text)).blocks if file.name.endswith(".j2") else {}

    assert file.doc
    assert list(documented) == [block.name for block in file.blocks]
    assert all(block.doc for block in (*file.blocks, *file.inherited))


def test_blocks_within_blocks_and_with_white_space_control_are_found() -> None:
    text = (
        "a: 1\n  {%- block outer -%}\n  b\n {% block inner scoped %}\n{{ '{% block no %}' }}"
        "{# {% block no %} #}{% raw %}{% block no %}{% endraw %}{% endblock inner %}\n{%+ endblock %}\nc"
    )
    SYNTAX.parse(text)

    blocks = parsed("a", Path("a"), text).blocks

    assert [(block.name, block.line) for block in blocks] == [("outer", 2), ("inner", 4)]
    assert blocks[0].text == text[text.index("{%- block outer") : text.rindex("\nc")]
    assert blocks[1].text == text[text.index("{% block inner") : text.index("\n{%+ endblock")]


def test_podman_has_the_blocks_of_dockers_template_by_their_names() -> None:
    file = find(PODMAN, [])

    assert {block.name for block in file.blocks} >= {block.name for block in find(DOCKER, []).blocks}
    assert not file.inherited


def test_a_block_that_a_site_overrides_says_by_which_file(tmp_path: Path) -> None:
    site, shipped, *others = a_site(tmp_path, docker=extending("docker", "extra", "shm"))

    assert (site.shipped, site.overrides, site.overridden_by) == (False, f"builtin/{DOCKER}", None)
    assert (shipped.shipped, shipped.overrides, shipped.overridden_by) == (True, None, str(site.path))
    overridden = {block.name for block in shipped.blocks if block.overridden_by}
    assert overridden == {"extra", "shm"}
    assert {block.overridden_by for block in shipped.blocks} == {None, str(site.path)}
    assert not [block for file in others for block in file.inherited if block.overridden_by]


def test_a_block_that_is_inherited_may_be_overridden_too() -> None:
    base, middle, top = (
        parsed(name, Path(f"/{name}"), text)
        for name, text in {
            "base": "{% block a %}{% endblock %}{% block b %}{% endblock %}",
            "middle": '{% extends "base" %}{% block c %}{% endblock %}',
            "top": '{% extends "middle" %}{% block b %}{% endblock %}',
        }.items()
    )

    blocks = blocks_of([middle, base], [top, middle, base])

    told = {block.name: (block.written_in, block.overridden_by) for block in blocks}
    assert told == {"a": ("base", None), "b": ("base", "/top"), "c": ("middle", None)}


def test_a_file_that_extends_nothing_stands_in_for_all_blocks(tmp_path: Path) -> None:
    site, shipped, *_ = a_site(tmp_path, docker="Image: {{ job.image }}\n")

    assert {block.overridden_by for block in shipped.blocks} == {str(site.path)}


def test_the_second_directory_of_a_site_is_overridden_by_the_first(tmp_path: Path) -> None:
    first = site_templates(tmp_path / "1", {DOCKER: extending("docker", "shm")})
    second = site_templates(tmp_path / "2", {DOCKER: extending("docker", "gpu")})

    files = next(engine for engine in engines([first, second]) if engine.engine == "docker").files

    assert [file.overridden_by for file in files[:2]] == [None, str(first / DOCKER)]
    assert find(DOCKER, [second, first]).path == second / DOCKER
    assert find(f"builtin/{DOCKER}", [second, first]).shipped


def test_a_name_that_is_not_there_is_told_with_what_was_meant() -> None:
    with pytest.raises(ConfigError, match=r"did you mean docker/container\.yaml\.j2\?"):
        find("docker/contianer.yaml.j2", [])


def test_a_template_that_cannot_be_parsed_is_listed_with_its_fault_at_its_line(tmp_path: Path) -> None:
    site, shipped, *others = a_site(tmp_path, docker=extending("docker") + "\n{% block extra %}\n")

    assert site.fault
    assert (site.fault.file, site.fault.line) == (str(tmp_path / DOCKER), 3)
    assert site.text.endswith("{% block extra %}\n")
    assert [block.name for block in shipped.blocks] == [block.name for block in find(DOCKER, []).blocks]
    assert not any(file.fault for file in (shipped, *others))
    assert find(DOCKER, [tmp_path]) == site


def test_a_file_that_is_not_utf_8_is_listed_with_its_fault_at_its_line(tmp_path: Path) -> None:
    site = site_templates(
        tmp_path, {DOCKER: "", "docker/state.yaml": "", PODMAN: f'{{% extends "{DOCKER}" %}}'}
    )
    for name in (DOCKER, "docker/state.yaml"):
        (site / name).write_bytes(b"a: 1\nb: caf\xe9\n")

    found = {file.name: file for engine in engines([site]) for file in engine.files if not file.shipped}

    for name in (DOCKER, "docker/state.yaml"):
        fault = found[name].fault
        assert fault == Fault(name, "this is not UTF-8: byte 0xe9", str(site / name), 2)
        assert found[name].text == "a: 1\nb: caf\N{REPLACEMENT CHARACTER}\n"
    assert found[PODMAN].fault == Fault(PODMAN, "what it extends is not UTF-8", str(site / PODMAN))


@pytest.mark.skipif(not Path("/proc/self/mem").exists(), reason="needs a file that root cannot read")
def test_rules_that_the_system_does_not_read_are_listed_with_their_fault(tmp_path: Path) -> None:
    file = site_templates(tmp_path, {}) / "docker/state.yaml"
    file.parent.mkdir(parents=True)
    file.symlink_to("/proc/self/mem")

    (docker,) = engines([tmp_path], ["docker"])

    assert (docker.rules, [fault.message for fault in docker.faults]) == ((), ["Input/output error"])


def test_a_name_that_leads_out_of_the_templates_is_not_there(tmp_path: Path) -> None:
    site = site_templates(tmp_path / "site", {"../secret.j2": "x", DOCKER: extending("docker")})

    for name in ("../secret.j2", "builtin/../secret.j2", "docker/../../secret.j2", ".", ""):
        with pytest.raises(ConfigError, match="does not exist"):
            find(name, [site])


@pytest.mark.parametrize(
    ("text", "told", "line"),
    [
        ("values:\n  a: 1\nrules: }\n", r"^no YAML: ", 3),
        (
            "extends: builtin/dokcer/state.yaml\n",
            r"builtin/dokcer/state\.yaml, which .* extends, does not",
            1,
        ),
        ("extends: docker/state.yaml\n", r"extends itself", 1),
        ("extends: 3\n", r"^\$\.extends: ", 1),
        ("- a\n", r"^\$: ", 1),
        ("a: 2026-13-13\n", r"month", 0),
    ],
)
def test_rules_that_cannot_be_read_are_told_and_can_still_be_looked_at(
    tmp_path: Path, text: str, told: str, line: int
) -> None:
    site = site_templates(tmp_path, {"docker/state.yaml": text})

    found = {engine.engine: engine for engine in engines([site])}
    file = find("docker/state.yaml", [site])

    (fault,) = found["docker"].faults
    assert re.search(told, fault.message)
    assert (fault.file, fault.line) == (str(site / "docker/state.yaml"), line)
    assert (file.fault, file.text) == (fault, text)
    assert found["docker"].rules == ()
    assert found["swarm"].rules


def test_a_digest_is_of_the_text_alone() -> None:
    assert digest("a") == digest("a") != digest("b")
    assert re.fullmatch("[0-9a-f]{16}", digest(""))
