"""`pman lint` finds what an author gets wrong, for every engine, and points at the line of the template."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import pytest
from sarif_pydantic import Sarif  # type: ignore[import-untyped]  # it has no types

from pman.errors import ConfigError
from pman.resources import STATES, TEMPLATES
from pman.workshop.lint.findings import RULES, Finding
from pman.workshop.lint.formats import FORMATS
from pman.workshop.lint.run import lint
from tests.a_job import ENGINES, site_templates

MARK = "HERE"


def mistaken(directory: Path, name: str, old: str, new: str) -> int:
    """A site's copy of a shipped file with one mistake; its line, which HERE in `new` marks."""
    text = (TEMPLATES / name).read_text("utf-8")
    assert text.count(old) >= 1, old
    marked = text.replace(old, new, 1)
    line = marked[: marked.index(MARK)].count("\n") + 1
    site_templates(directory, {name: marked.replace(MARK, "")})
    return line


def errors(directory: Path) -> list[Finding]:
    return [finding for finding in lint([directory]).findings if finding.level == "error"]


IN_COPIES = {
    # --- variables, filters, syntax
    "a misspelt variable": ("docker/container.yaml.j2", "job.image", "HEREjob.imgae", "unknown-variable"),
    "a misspelt setting": (
        "slurm/job.json.j2",
        "site.slurm_qos }}",
        "HEREsite.slurm_qqs }}",
        "unknown-variable",
    ),
    "a misspelt variable where no sample gets to": (
        "swarm/service.yaml.j2",
        "{% block extra %}",
        '{% block extra %}\n{% if job.jid == "never" %}\nHEREa: {{ job.gpus }}\n{% endif %}',
        "unknown-variable",
    ),
    "a name of its own that was never set": (
        "local/job.sh.j2",
        "{{ job.argv }}",
        "HERE{{ argv }}",
        "unknown-variable",
    ),
    "a filter that does not exist": (
        "kubernetes/job.yaml.j2",
        "{{ job.jid }}",
        "HERE{{ job.jid | lowr }}",
        "unknown-filter",
    ),
    "a filter in a branch that no sample reaches": (
        "podman/container.yaml.j2",
        "{% block gpu %}",
        '{% block gpu %}\n{% if job.jid == "never" %}\nHERE{{ job.jid | lowr }}\n{% endif %}',
        "unknown-filter",
    ),
    "a value marked safe": (
        "cromwell/options.json.j2",
        "{{ job.image }}",
        "HERE{{ job.image | safe }}",
        "unknown-filter",
    ),
    "a block that does not end": (
        "docker/container.yaml.j2",
        "{% block mounts %}",
        "{% block mountsHERE %}\n{% block more %}",
        "template-syntax",
    ),
    "an if without its endif": (
        "slurm/job.sh.j2",
        "{% block setup %}",
        "{% block setup %}\n{% if job.gpu_limitHERE %}",
        "template-syntax",
    ),
    "a division by nothing": (
        "swarm/service.yaml.j2",
        "{{ job.number_of_workers }}",
        "{{ job.number_of_workers // job.cpu_limitHERE }}",
        "template-fails",
    ),
    # --- where a value stands
    "a value in quotes": (
        "docker/container.yaml.j2",
        "{{ job.image }}",
        'HERE"{{ job.image }}"',
        "misplaced-value",
    ),
    "a value beside text": ("swarm/service.yaml.j2", "Name: {{", "HEREName: pman-{{", "misplaced-value"),
    "a word of a shell in quotes": (
        "slurm/job.sh.j2",
        "directory={{ directory }}",
        'HEREdirectory="{{ directory }}"',
        "misplaced-value",
    ),
    "a raw value in a command of WDL": (
        "cromwell/workflow.wdl.j2",
        "exec {{ job.argv | words }}",
        "HEREexec {{ job.argv[0] }}",
        "misplaced-value",
    ),
    # --- what is rendered
    "a wrong indent": (
        "docker/container.yaml.j2",
        "  {% block extra %}",
        "  {% block extra %}\nHERE OomScoreAdj: 512",
        "unreadable-document",
    ),
    "a key that stands twice": (
        "kubernetes/job.yaml.j2",
        "          {% block container %}",
        "          {% block container %}\nHERE          env: []",
        "unreadable-document",
    ),
    "a comma too many in JSON": (
        "slurm/job.json.j2",
        '"requeue": false',
        '"requeue": falseHERE,',
        "unreadable-document",
    ),
    "a key that stands twice in JSON": (
        "cromwell/options.json.j2",
        "{% block extra %}",
        '{% block extra %}\nHERE"read_from_cache": true,',
        "unreadable-document",
    ),
    "an attribute of WDL with = for a colon": (
        "cromwell/workflow.wdl.j2",
        "    {% block attributes %}",
        '    {% block attributes %}\nHERE    account = "a"',
        "unreadable-document",
    ),
    "a function that WDL does not have": (
        "cromwell/workflow.wdl.j2",
        "    {% block attributes %}",
        '    {% block attributes %}\nHERE    account: upper("a")',
        "unreadable-document",
    ),
    # --- what the engine takes
    "a field that Docker does not have": (
        "docker/container.yaml.j2",
        "  {% block extra %}",
        "  {% block extra %}\nHERE  PidsLimt: 512",
        "unknown-field",
    ),
    "a field at the wrong depth": (
        "docker/container.yaml.j2",
        "Image: {{ job.image }}",
        "Image: {{ job.image }}\nHERECapAdd: [NET_RAW]",
        "unknown-field",
    ),
    "a field that Kubernetes does not have": (
        "kubernetes/job.yaml.j2",
        "readOnly: true",
        "HEREreadonly: true",
        "unknown-field",
    ),
    "a text where Docker takes a number": (
        "docker/container.yaml.j2",
        "ShmSize: {{ site.shm_size * 2**20 }}",
        'HEREShmSize: {{ site.shm_size ~ "m" }}',
        "wrong-value",
    ),
    "a unit of Kubernetes where Swarm takes bytes": (
        "swarm/service.yaml.j2",
        "MemoryBytes: {{ (job.memory_limit or 0) * 2**20 }}",
        'HEREMemoryBytes: {{ job.memory_limit ~ "Mi" }}',
        "wrong-value",
    ),
    "a kind that Kubernetes does not have": (
        "kubernetes/job.yaml.j2",
        "kind: Job",
        "HEREkind: Jobb",
        "wrong-value",
    ),
    "a version that its API does not have": (
        "kubernetes/job.yaml.j2",
        "apiVersion: batch/v1",
        "HEREapiVersion: batch/v11",
        "wrong-value",
    ),
    "a number where Kubernetes takes a text": (
        "kubernetes/job.yaml.j2",
        "medium: Memory",
        "HEREmedium: 1",
        "wrong-value",
    ),
    "a kind of mount that there is not": (
        "docker/container.yaml.j2",
        "{% block gpu %}",
        "{% block gpu %}\n  HEREIsolation: hyperV",
        "wrong-value",
    ),
    "a field of Docker's API in Podman's": (
        "podman/container.yaml.j2",
        "{% block gpu %}",
        "{% block gpu %}\nHEREPidsLimit: 5",
        "unknown-field",
    ),
    "a word of sbatch that slurmrestd does not have": (
        "slurm/job.json.j2",
        '"cpus_per_task"',
        'HERE"cpus-per-task"',
        "unknown-field",
    ),
    "a wrong type for slurmrestd": (
        "slurm/job.json.j2",
        '"time_limit": {{ site.timelimit_minutes }}',
        'HERE"time_limit": {{ site.timelimit_minutes ~ ":00" }}',
        "wrong-value",
    ),
    "a number as a label of Cromwell": (
        "cromwell/labels.json.j2",
        "{% block extra %}",
        '{% block extra %}\nHERE"priority": 1,',
        "wrong-value",
    ),
    "a field that the local supervisor does not read": (
        "local/job.yaml.j2",
        "memory: ",
        "HEREmemory_limit: ",
        "unknown-field",
    ),
    # --- shell
    "a shell's if without fi": (
        "slurm/job.sh.j2",
        "stop() { :; }",
        "stop() { :; }\nif true; then echo; )HERE",
        "shell-syntax",
    ),
    "a parenthesis too many": ("local/job.sh.j2", "exec </dev/null", "exec </dev/null )HERE", "shell-syntax"),
    "a wrong shell in a command of WDL": (
        "cromwell/workflow.wdl.j2",
        "{% block extra %}",
        "{% block extra %}\nexport A=(HERE))",
        "shell-syntax",
    ),
    # --- rules
    "an expression that ends too early": (
        "docker/state.yaml",
        "when: native.State.Status == 'pulling'",
        "when: native.State.Status ==HERE",
        "rules-expression",
    ),
    "a message with a brace too few": (
        "swarm/state.yaml",
        'message: "{{ reason }}"',
        'message: "{{ reason }HERE"',
        "rules-expression",
    ),
    "a value that nothing names": (
        "slurm/state.yaml",
        "rules:\n",
        "rules:\n  - when: codHERE == 3\n    status: finishedWithError\n    message: three\n",
        "unknown-name",
    ),
    "a status that the platform does not know": (
        "kubernetes/state.yaml",
        "status: notstarted",
        "status: notStartedHERE",
        "rules-schema",
    ),
    "a rule without a message": (
        "local/state.yaml",
        "  - status: started",
        "  - HEREstatus: started\n    hint: x\n  - status: started",
        "rules-schema",
    ),
    "a condition that stands twice in a rule": (
        "docker/state.yaml",
        "    status: notstarted",
        "    status: notstarted\n    status: HEREstarted",
        "rules-syntax",
    ),
    "a tab in YAML": ("podman/state.yaml", "rules:\n", "rules:\n\tHERE\n", "rules-syntax"),
    "a rule that always holds before others": (
        "cromwell/state.yaml",
        "rules:\n",
        "rules:\n  - HEREstatus: started\n    message: all\n",
        "rule-unreachable",
    ),
    "a rule that an earlier one shadows": (
        "docker/state.yaml",
        "  - when: native.State.ExitCode == 0 and native.State.OOMKilled",
        "  - when: native.State.ExitCode\n    status: finishedWithError\n    message: failed\n"
        "  - when: native.State.ExitCode == 3HERE\n    status: finishedWithError\n    message: three\n"
        "  - when: native.State.ExitCode == 0 and native.State.OOMKilled",
        "rule-shadowed",
    ),
    "a rule that fails for a state": (
        "docker/state.yaml",
        "  - when: native.State.Status == 'pulling'",
        "  - when: native.State.Status + 1 == 2HERE\n    status: started\n    message: x\n"
        "  - when: native.State.Status == 'pulling'",
        "rule-fails",
    ),
}


@pytest.mark.parametrize(("name", "old", "new", "rule"), IN_COPIES.values(), ids=IN_COPIES)
def test_a_mistake_is_found_at_its_line(tmp_path: Path, name: str, old: str, new: str, rule: str) -> None:
    line = mistaken(tmp_path, name, old, new)

    found = errors(tmp_path)

    assert (rule, str(tmp_path / name), line) in [(one.rule, one.file, one.line) for one in found], found
    if rule != "rule-shadowed":
        assert {one.line for one in found} == {line}, found


EXTENDS = '{% extends "builtin/docker/container.yaml.j2" %}\n'

IN_SITES: Mapping[str, tuple[dict[str, str], str, str, int]] = {
    "a block indented too little, of which YAML complains below, in a shipped line": (
        {
            "docker/container.yaml.j2": EXTENDS
            + "{% block resources %}\n{{ super() }}\nPidsLimit: 512\n{% endblock %}\n"
        },
        "unreadable-document",
        "docker/container.yaml.j2",
        4,
    ),
    "a block that there is not": (
        {"docker/container.yaml.j2": EXTENDS + "{% block securty %}\n{% endblock %}\n"},
        "unknown-block",
        "docker/container.yaml.j2",
        2,
    ),
    "a block without what every request has": (
        {"docker/container.yaml.j2": EXTENDS + "\n{% block mounts %}\n  Mounts: []\n{% endblock %}\n"},
        "no-job-runs",
        "docker/container.yaml.j2",
        3,
    ),
    "text outside of a block": (
        {"docker/container.yaml.j2": EXTENDS + "{% block extra %}\n{% endblock %}\n\nReadonlyRootfs: true\n"},
        "lost-text",
        "docker/container.yaml.j2",
        5,
    ),
    "a file that nothing reads": (
        {"docker/contianer.yaml.j2": EXTENDS},
        "unknown-file",
        "docker/contianer.yaml.j2",
        0,
    ),
    "rules under another name": (
        {"docker/states.yaml": "rules: []\n"},
        "unknown-file",
        "docker/states.yaml",
        0,
    ),
    "a folder of no engine": (
        {"docker/_x.j2": "", "kubernets/job.yaml.j2": ""},
        "unknown-engine",
        "kubernets",
        0,
    ),
    "a template that is not there": (
        {"swarm/service.yaml.j2": '{# #}\n{% extends "builtin/swarm/servce.yaml.j2" %}\n'},
        "unknown-template",
        "swarm/service.yaml.j2",
        2,
    ),
    "a part that is not there, where no sample gets to": (
        {
            "docker/_part.j2": "",
            "docker/container.yaml.j2": EXTENDS
            + '{% block extra %}\n{% if job.jid == "never" %}\n{% include "docker/_prt.j2" %}\n'
            "{% endif %}\n{% endblock %}\n",
        },
        "unknown-template",
        "docker/container.yaml.j2",
        4,
    ),
    "rules that extend nothing": (
        {"slurm/state.yaml": "# own\nextends: builtin/slrum/state.yaml\n"},
        "unknown-template",
        "slurm/state.yaml",
        2,
    ),
    "a value with the name of a function": (
        {"docker/state.yaml": "extends: builtin/docker/state.yaml\nvalues:\n  oldest: native\n"},
        "rules-schema",
        "docker/state.yaml",
        3,
    ),
    "a wrong value through a macro": (
        {
            "docker/_limits.j2": "{% macro score(number) %}\n  OomScoreAdj: {{ number }}\n{% endmacro %}\n",
            "docker/container.yaml.j2": EXTENDS
            + '{% from "docker/_limits.j2" import score %}\n{% block extra %}\n{{ score("many") }}\n'
            "{% endblock %}\n",
        },
        "wrong-value",
        "docker/_limits.j2",
        2,
    ),
    "a template that extends itself, for want of builtin/": (
        {"docker/container.yaml.j2": '{# own #}\n{% extends "docker/container.yaml.j2" %}\n'},
        "unknown-template",
        "docker/container.yaml.j2",
        2,
    ),
    "a part that includes itself": (
        {
            "docker/_part.j2": '{# #}\n{% include "docker/_part.j2" %}\n',
            "docker/container.yaml.j2": EXTENDS
            + '{% block extra %}\n{% include "docker/_part.j2" %}\n{% endblock %}\n',
        },
        "template-fails",
        "docker/_part.j2",
        2,
    ),
    "a macro that calls itself": (
        {
            "docker/container.yaml.j2": EXTENDS
            + "{% block extra %}\n{% macro m() %}\n{{ m() }}\n{% endmacro %}\n{{ m() }}\n{% endblock %}\n"
        },
        "template-fails",
        "docker/container.yaml.j2",
        4,
    ),
    "an alias of what it stands in": (
        {"docker/state.yaml": "extends: builtin/docker/state.yaml\nvalues: &all\n  a: *all\n"},
        "rules-syntax",
        "docker/state.yaml",
        2,
    ),
    "a rule that stops as no other does": (
        {
            "docker/state.yaml": "extends: builtin/docker/state.yaml\nrules:\n"
            "  - {when: \"'{0}'.format() == 'x'\", status: started, message: a}\n"
        },
        "rule-fails",
        "docker/state.yaml",
        3,
    ),
    "no rules at all": ({"docker/state.yaml": "rules: []\n"}, "state-without-rule", "docker/state.yaml", 0),
    "a number for the name of a section": (
        {"docker/state.yaml": "extends: builtin/docker/state.yaml\n1: 2\n"},
        "rules-schema",
        "docker/state.yaml",
        2,
    ),
    "a number for the name of a value": (
        {"docker/state.yaml": "extends: builtin/docker/state.yaml\nvalues:\n  1: 'true'\n"},
        "rules-schema",
        "docker/state.yaml",
        2,
    ),
    "a date where the API takes a text": (
        {"docker/container.yaml.j2": EXTENDS + "{% block extra %}\n  Runtime: 2026-01-01\n{% endblock %}\n"},
        "wrong-value",
        "docker/container.yaml.j2",
        3,
    ),
    "labels that are no mapping": (
        {"docker/state.yaml": "extends: builtin/docker/state.yaml\nfields:\n  labels: '3'\n"},
        "field-fails",
        "docker/state.yaml",
        3,
    ),
    "arguments that are no list": (
        {"docker/state.yaml": "extends: builtin/docker/state.yaml\nfields:\n  argv: '3'\n"},
        "field-fails",
        "docker/state.yaml",
        3,
    ),
    "a moment that is none": (
        {"slurm/state.yaml": "extends: builtin/slurm/state.yaml\nfields:\n  created: \"'yesterday'\"\n"},
        "field-fails",
        "slurm/state.yaml",
        3,
    ),
    "a document that is no JSON": (
        {"docker/state.yaml": "extends: builtin/docker/state.yaml\napplied:\n  a.json: \"'{'\"\n"},
        "field-fails",
        "docker/state.yaml",
        3,
    ),
    "a file that nothing reads, in another encoding": ({"docker/a.yaml": "\udcff"}, "unknown-file", "", 0),
    "a file in another encoding": ({"docker/container.yaml.j2": "\udcff"}, "unreadable-file", "", 0),
}


@pytest.mark.parametrize(("files", "rule", "name", "line"), IN_SITES.values(), ids=IN_SITES)
def test_a_sites_mistake_is_found_at_its_line(
    tmp_path: Path, files: dict[str, str], rule: str, name: str, line: int
) -> None:
    for file, text in files.items():
        target = tmp_path / file
        target.parent.mkdir(exist_ok=True)
        target.write_bytes(text.encode("utf-8", "surrogateescape"))

    found = errors(tmp_path)

    assert [one.rule for one in found] == [rule], found
    if name:
        assert (found[0].file, found[0].line) == (str(tmp_path / name), line)


def test_rules_that_extend_nothing_are_checked_all_the_same(tmp_path: Path) -> None:
    rule = "{when: natvie.State.ExitCode == 3, status: started, message: so}"
    site_templates(tmp_path, {"slurm/state.yaml": f"extends: builtin/slrum/state.yaml\nrules: [{rule}]\n"})

    mistakes = [(finding.rule, finding.line) for finding in errors(tmp_path)]

    assert mistakes == [("unknown-template", 1), ("unknown-name", 2)]


def test_a_part_in_another_encoding_is_found_where_a_template_extends_it(tmp_path: Path) -> None:
    site_templates(tmp_path, {"docker/container.yaml.j2": '{% extends "docker/_own.j2" %}'})
    (tmp_path / "docker/_own.j2").write_bytes(b"caf\xe9\n")

    assert "unreadable-file" in [finding.rule for finding in errors(tmp_path)]


def test_every_engine_has_a_mistake_that_is_found() -> None:
    assert {name.partition("/")[0] for name, *_ in IN_COPIES.values()} == set(ENGINES)


def test_what_is_shipped_has_no_mistake() -> None:
    report = lint()

    assert [finding for finding in report.findings if finding.level != "note"] == []
    assert report.engines == tuple(ENGINES)


WARNED: Mapping[str, tuple[dict[str, str], str, str, int]] = {
    "limits that nothing reads any more": (
        {"docker/container.yaml.j2": EXTENDS + "{% block resources %}\n{% endblock %}\n"},
        "field-dropped",
        "docker/container.yaml.j2",
        2,
    ),
    "a branch that no sample reaches": (
        {
            "docker/container.yaml.j2": EXTENDS
            + '{% block extra %}\n{% if job.jid == "never" %}\n  OomScoreAdj: 512\n{% endif %}\n'
            "{% endblock %}\n"
        },
        "branch-not-reached",
        "docker/container.yaml.j2",
        3,
    ),
    "an else that no sample reaches": (
        {
            "docker/container.yaml.j2": EXTENDS
            + "{% block extra %}\n{% if job.jid %}\n  OomScoreAdj: 512\n{% else %}\n  OomScoreAdj: 1\n"
            "{% endif %}\n{% endblock %}\n"
        },
        "branch-not-reached",
        "docker/container.yaml.j2",
        6,
    ),
    "a macro that nothing calls": (
        {"docker/container.yaml.j2": EXTENDS + "\n{% macro unused() %}{% endmacro %}\n"},
        "unused-block",
        "docker/container.yaml.j2",
        3,
    ),
    "a block in a block that is replaced": (
        {
            "site/_base.yaml.j2": "a: 1\n{% block outer %}\n{% block inner %}\nb: 1\n"
            "{% endblock %}\n{% endblock %}\n",
            "site/body.yaml.j2": '{% extends "site/_base.yaml.j2" %}\n{% block outer %}\nc: 1\n'
            "{% endblock %}\n{% block inner %}\nd: 1\n{% endblock %}\n",
            "site/state.yaml": "rules:\n  - {status: started, message: x}\n",
        },
        "unused-block",
        "site/body.yaml.j2",
        5,
    ),
    "a word of the engine misspelt": (
        {
            "docker/state.yaml": "extends: builtin/docker/state.yaml\nrules:\n"
            "  - when: native.State.Status == 'exitted'\n    status: finishedWithError\n    message: x\n"
        },
        "unknown-word",
        "docker/state.yaml",
        3,
    ),
    "a field of the engine misspelt": (
        {
            "docker/state.yaml": "extends: builtin/docker/state.yaml\nvalues:\n"
            "  timed_out: native.State.ExitCod == 3\n",
        },
        "unknown-word",
        "docker/state.yaml",
        3,
    ),
    "a block whose shipped one has changed": (
        {
            "docker/container.yaml.j2": EXTENDS
            + "{# pman: made from builtin/docker/container.yaml.j2, block command, of pman 7.0.0, "
            "sha256 0123456789abcdef #}\n{% block command %}\nCmd: {{ job.argv }}\n{% endblock %}\n"
        },
        "override-drifted",
        "docker/container.yaml.j2",
        3,
    ),
    "a block without a record of what it was made from": (
        {
            "docker/container.yaml.j2": EXTENDS
            + "\n{% block command %}\nCmd: {{ job.argv }}\n{% endblock %}\n"
        },
        "override-without-record",
        "docker/container.yaml.j2",
        3,
    ),
}


@pytest.mark.parametrize(("files", "rule", "name", "line"), WARNED.values(), ids=WARNED)
def test_what_is_doubtful_is_warned_of_at_its_line(
    tmp_path: Path, files: dict[str, str], rule: str, name: str, line: int
) -> None:
    site_templates(tmp_path, files)

    found = [one for one in lint([tmp_path]).findings if one.level != "note"]

    assert (rule, str(tmp_path / name), line) in [(one.rule, one.file, one.line) for one in found], found
    assert {one.level for one in found} == {"warning"}


def test_two_rules_of_another_status_for_the_same_states_are_told(tmp_path: Path) -> None:
    site_templates(
        tmp_path,
        {
            "docker/state.yaml": "rules:\n"
            "  - {when: native.State.Status == 'dead', status: finishedWithError, message: a}\n"
            "  - {when: native.State.Dead, status: started, message: b}\n"
            "  - {status: started, message: c}\n"
        },
    )

    found = [one for one in lint([tmp_path]).findings if one.rule == "ambiguous-state"]

    assert [one.line for one in found] == [3]
    assert "line 2" in found[0].message


def changes(directory: Path, own: str, engine: str = "docker") -> list[Finding]:
    site_templates(directory, {f"{engine}/state.yaml": f"extends: builtin/{engine}/state.yaml\n{own}"})
    return [one for one in lint([directory]).findings if one.rule == "status-changed"]


def test_the_recorded_states_that_a_sites_rule_gives_another_status_are_told_at_it(tmp_path: Path) -> None:
    (found,) = changes(
        tmp_path,
        "rules:\n"
        "  - {when: native.State.Status == 'running', status: started, message: a}\n"
        "  - {when: native.State.ExitCode == 3, status: finishedSuccessfully, message: b}\n",
    )

    assert (found.file, found.line, found.level) == (str(tmp_path / "docker/state.yaml"), 4, "note")
    assert "exited-3: finishedWithError -> finishedSuccessfully" in found.message


def test_what_a_sites_values_change_by_shipped_rules_is_told_of_its_file(tmp_path: Path) -> None:
    (found,) = changes(tmp_path, "values:\n  states: \"['PENDING']\"\n", "slurm")

    assert (found.file, found.line) == (str(tmp_path / "slurm/state.yaml"), 0)


def test_a_sites_rule_that_changes_no_status_is_no_noise(tmp_path: Path) -> None:
    same = "rules:\n  - {when: native.State.Status == 'dead', status: finishedWithError, message: b}\n"

    assert changes(tmp_path, same) == []


def test_without_bash_it_is_told_that_no_script_is_checked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    site_templates(tmp_path / "site", {"local/job.sh.j2": '{% extends "builtin/local/job.sh.j2" %}\n'})
    monkeypatch.setenv("PATH", str(tmp_path))

    found = [one for one in lint([tmp_path / "site"]).findings if one.level != "note"]

    assert [(one.rule, one.level) for one in found] == [("shell-missing", "warning")]
    assert "job.sh" in found[0].message


def test_a_good_site_is_clean(tmp_path: Path) -> None:
    site_templates(
        tmp_path,
        {
            "docker/container.yaml.j2": EXTENDS + "{% block resources %}\n{{ super() }}\n  OomScoreAdj: 512\n"
            "{% endblock %}\n",
            "docker/README.md": "why",
            "podman/state.yaml": "extends: builtin/podman/state.yaml\n",
        },
    )

    report = lint([tmp_path])

    assert [finding for finding in report.findings if finding.level != "note"] == []
    assert report.engines == ("docker", "podman")


def test_a_version_of_kubernetes_is_chosen(tmp_path: Path) -> None:
    text = (TEMPLATES / "kubernetes/job.yaml.j2").read_text("utf-8")
    since_1_31 = text.replace(
        "      {% block extra %}", "      {% block extra %}\nHERE      resourceClaims: []", 1
    )
    site_templates(tmp_path, {"kubernetes/job.yaml.j2": since_1_31.replace("HERE", "")})

    with pytest.raises(ConfigError, match=r"--kubernetes-version='1\.3': use 1\.25, .*1\.29"):
        lint([tmp_path], kubernetes="1.3")

    told = {
        version: [
            one.message for one in lint([tmp_path], kubernetes=version).findings if one.level == "error"
        ]
        for version in ("1.25", "1.37")
    }
    assert told["1.37"] == []
    assert "resourceClaims is no field here" in told["1.25"][0]


FOUND = [
    Finding(
        "unknown-variable", "job.x is 100% unknown,\nor so", str(Path.cwd() / "site/a b.j2"), 3, "use job.y"
    ),
    Finding("rule-not-tried", "not tried", "/etc/pman/state.yaml", 0),
    Finding("template-syntax", "anywhere", ""),
]


def test_text_is_a_line_for_each_as_compilers_write_it() -> None:
    assert FORMATS["text"](FOUND).splitlines() == [
        "site/a b.j2:3: error: job.x is 100% unknown,",
        "or so [unknown-variable]",
        "    use job.y",
        "/etc/pman/state.yaml: note: not tried [rule-not-tried]",
        "pman: error: anywhere [template-syntax]",
    ]


def test_github_gets_annotations_with_what_it_takes_for_its_own_escaped() -> None:
    assert FORMATS["github"](FOUND).splitlines()[:2] == [
        "::error file=site/a b.j2,line=3,title=pman lint%3A unknown-variable"
        "::job.x is 100%25 unknown,%0Aor so%0Ause job.y",
        "::notice file=/etc/pman/state.yaml,title=pman lint%3A rule-not-tried::not tried",
    ]


def test_sarif_is_that_of_2_1_0() -> None:
    text = FORMATS["sarif"](FOUND)

    log = Sarif.model_validate_json(text)
    (run,) = json.loads(text)["runs"]
    assert str(log.version) == "2.1.0"
    assert [rule["id"] for rule in run["tool"]["driver"]["rules"]] == list(RULES)
    first, second, third = run["results"]
    assert RULES.keys() >= {first["ruleId"]}
    assert run["tool"]["driver"]["rules"][first["ruleIndex"]]["id"] == first["ruleId"]
    assert first["locations"][0]["physicalLocation"] == {
        "artifactLocation": {"uri": "site/a%20b.j2"},
        "region": {"startLine": 3},
    }
    assert second["locations"][0]["physicalLocation"] == {
        "artifactLocation": {"uri": "file:///etc/pman/state.yaml"}
    }
    assert "locations" not in third
    assert {result["level"] for result in run["results"]} <= {"error", "warning", "note"}


def test_json_has_all_of_a_finding() -> None:
    first, *_ = json.loads(FORMATS["json"](FOUND))

    assert first == {
        "rule": "unknown-variable",
        "message": "job.x is 100% unknown,\nor so",
        "file": "site/a b.j2",
        "line": 3,
        "hint": "use job.y",
        "level": "error",
    }


def test_the_recorded_states_are_those_of_engines_with_rules() -> None:
    assert {path.name for path in STATES.iterdir()} <= {path.name for path in TEMPLATES.iterdir()}
