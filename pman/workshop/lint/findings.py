"""The rules of lint by their names, which stay, and a finding of one of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

from pman.errors import Fault
from pman.translation.sources import Mistake

Level = Literal["error", "warning", "note"]


@dataclass(frozen=True, slots=True)
class Rule:
    """A kind of mistake."""

    meaning: str
    level: Level = "error"


RULES: Mapping[str, Rule] = {
    "unreadable-file": Rule("a file that is no text in UTF-8"),
    "template-syntax": Rule("Jinja cannot read the template"),
    "unknown-filter": Rule("a filter or test that does not exist, or that would leave a value unescaped"),
    "unknown-variable": Rule("a variable that no template is given, also where no sample gets to"),
    "unknown-template": Rule("a template that is extended, included or imported and does not exist"),
    "unknown-block": Rule("a block that the extended template does not have"),
    "lost-text": Rule("text outside of a block in a template that extends another one"),
    "unknown-file": Rule("a file that nothing reads"),
    "unknown-engine": Rule("a folder that is nearly the name of an engine"),
    "template-fails": Rule("a template that stops for a sample"),
    "misplaced-value": Rule("a {{ }} within quotes, beside other text, or in a comment of a shell"),
    "unreadable-document": Rule("what is rendered is no YAML, JSON or WDL, or has a key twice"),
    "unknown-field": Rule("a field that the engine's API does not have"),
    "wrong-value": Rule("a value that the engine's API does not take, or a field that it misses"),
    "shell-syntax": Rule("a script, or the command of a WDL, that a shell cannot read"),
    "no-job-runs": Rule("a field that every request has, and that no template reads any more"),
    "field-dropped": Rule(
        "a field that the shipped templates honour and the site's do not: such requests are refused",
        "warning",
    ),
    "branch-not-reached": Rule(
        "a branch that no sample reaches, so that nothing above was tried on it", "warning"
    ),
    "unused-block": Rule("a block or macro that nothing renders", "warning"),
    "schema-missing": Rule("the schemas of an engine's API are not installed", "warning"),
    "shell-missing": Rule("there is no bash, so that no script is checked", "warning"),
    "not-checked": Rule("a document that no schema is known for", "note"),
    "rules-syntax": Rule("a state.yaml that is no YAML, or has a key twice"),
    "rules-schema": Rule("a state.yaml that is not as schema/state.json has it"),
    "rules-expression": Rule("an expression or message of a rule that cannot be read"),
    "unknown-name": Rule("a name in an expression that is neither a value nor a function"),
    "rule-unreachable": Rule("a rule after one that always holds, or after one with the same condition"),
    "rule-shadowed": Rule("a rule whose recorded states are all decided by a more general one before it"),
    "rule-fails": Rule("a rule that stops for a recorded state"),
    "field-fails": Rule("one of `fields` or `applied` that stops for a recorded state"),
    "state-without-rule": Rule("a recorded state that no rule decides"),
    "ambiguous-state": Rule(
        "two rules that hold for the same recorded states and give another status", "warning"
    ),
    "unknown-word": Rule(
        "a word or a field that is nearly one of the engine's, and in no recorded state", "warning"
    ),
    "status-changed": Rule(
        "recorded states that get another status by a site's rules than by the shipped ones", "note"
    ),
    "rule-not-tried": Rule("a rule that decides no recorded state", "note"),
    "override-without-record": Rule(
        "a block in place of a shipped one that does not say from which it was made", "warning"
    ),
    "override-drifted": Rule("a block whose shipped one has changed since it was made", "warning"),
    "golden-differs": Rule("a sample that becomes another document than the golden one"),
}


@dataclass(frozen=True, slots=True)
class Finding:
    rule: str
    message: str
    file: str
    """A path; '' where there is none."""

    line: int = 0
    """Counted from 1; 0: the file as a whole."""

    hint: str = ""

    @property
    def level(self) -> Level:
        return RULES[self.rule].level


def of_fault(rule: str, fault: Fault) -> Finding:
    return Finding(rule, fault.message, fault.file, fault.line)


def of_mistake(mistake: Mistake) -> Finding:
    file = mistake.file or mistake.name
    return Finding(mistake.rule, mistake.message, file, mistake.line, mistake.hint)


def has_errors(findings: Iterable[Finding]) -> bool:
    return any(finding.level == "error" for finding in findings)


def distinct(findings: Iterable[Finding]) -> list[Finding]:
    """Sorts findings by file and line, one for each mistake: many samples meet the same one."""
    first: dict[tuple[str, str, int, str], Finding] = {}
    for finding in findings:
        first.setdefault((finding.rule, finding.file, finding.line, finding.hint), finding)
    return sorted(first.values(), key=lambda finding: (finding.file, finding.line, finding.rule))


def table() -> str:
    """Writes every rule in a table, for the docs."""
    rows = [f"| `{name}` | {rule.level} | {rule.meaning} |" for name, rule in RULES.items()]
    return "\n".join(["| rule | level | what it finds |", "|---|---|---|", *rows]) + "\n"
