"""A site's file that overrides nothing is told, with what was meant."""

from __future__ import annotations

from pathlib import Path

import pytest

from pman.errors import ConfigError
from tests.a_job import a_translation, site_templates

EXTENDS = '{% extends "builtin/docker/container.yaml.j2" %}\n'


@pytest.mark.parametrize(
    ("files", "told"),
    [
        (
            {"docker/container.yaml.j2": f"{EXTENDS}{{% block securty %}}{{% endblock %}}"},
            r"docker/container\.yaml\.j2, line 2: there is no block securty in .*did you mean security\?",
        ),
        (
            {"docker/container.yaml.j2": f"{EXTENDS}\n\nReadonlyRootfs: true\n"},
            r"docker/container\.yaml\.j2, line 4: what stands outside of a block is lost",
        ),
        (
            {"docker/container.yaml.j2": '{# #}\n{% extends "docker/container.yaml.j2" %}\n'},
            r"container\.yaml\.j2, line 2: extends itself; the shipped one is builtin/docker/con",
        ),
        (
            {
                "docker/container.yaml.j2": '{% extends "docker/_own.j2" %}\n',
                "docker/_own.j2": '{% extends "docker/_own.j2" %}\n',
            },
            r"container\.yaml\.j2, line 1: extends docker/_own\.j2, which extends itself$",
        ),
        ({"docker/contianer.yaml.j2": EXTENDS}, r"contianer\.yaml\.j2: .*did you mean container\.yaml\.j2\?"),
        ({"docker/states.yaml": "{}"}, r"docker/states\.yaml: .*did you mean state\.yaml\?"),
        ({"dokcer/container.yaml.j2": EXTENDS}, r"PMAN_TEMPLATES=.*no folder of an engine"),
        (
            {"docker/state.yaml": "{}", "podmann/state.yaml": "{}"},
            r"podmann is no engine, so nothing reads this folder; did you mean podman\?",
        ),
        ({"container.yaml.j2": EXTENDS}, r"no folder of an engine"),
    ],
)
def test_what_overrides_nothing_stops_the_start(tmp_path: Path, files: dict[str, str], told: str) -> None:
    site = site_templates(tmp_path, files)

    with pytest.raises(ConfigError, match=told):
        a_translation("docker", PMAN_TEMPLATES=str(site))


def test_shared_parts_notes_and_other_engines_may_lie_beside(tmp_path: Path) -> None:
    files = {
        "docker/_macros.j2": "",
        "docker/README.md": "why",
        "docker/container.yaml.j2": f"{EXTENDS}{{% set x = 1 %}}\n{{% block extra %}}{{% endblock %}}",
        "kubernetes/job.yaml.j2": "a: 1",
        "_shared/parts.j2": "",
    }

    a_translation("docker", PMAN_TEMPLATES=str(site_templates(tmp_path, files)))
