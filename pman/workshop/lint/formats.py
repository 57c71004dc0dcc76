"""Findings as text for a person, JSON, annotations of GitHub Actions, and SARIF 2.1.0."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any
from urllib.parse import quote

from pman import __version__
from pman.workshop.lint.findings import RULES, Finding

SARIF = "https://json.schemastore.org/sarif-2.1.0.json"
_ANNOTATIONS = {"error": "error", "warning": "warning", "note": "notice"}


def text(findings: Sequence[Finding]) -> str:
    """`file:line: level: message [rule]`, as compilers write it, with what would help below."""
    return "".join(map(_line, findings))


def _line(finding: Finding) -> str:
    place = f"{shown(finding.file)}:{finding.line}" if finding.line else shown(finding.file) or "pman"
    hint = f"    {finding.hint}\n" if finding.hint else ""
    return f"{place}: {finding.level}: {finding.message} [{finding.rule}]\n{hint}"


def shown(file: str) -> str:
    """Names a file by its path from where pman was started, where it lies below."""
    path = Path(file)
    here = Path.cwd()
    return str(path.relative_to(here)) if file and path.is_relative_to(here) else file


def as_json(findings: Sequence[Finding]) -> str:
    items = [{**asdict(finding), "level": finding.level, "file": shown(finding.file)} for finding in findings]
    return json.dumps(items, indent=2, ensure_ascii=False) + "\n"


def github(findings: Sequence[Finding]) -> str:
    """Writes workflow commands, which GitHub shows at the line of the file."""
    lines = []
    for finding in findings:
        place = {"file": shown(finding.file), "line": finding.line, "title": f"pman lint: {finding.rule}"}
        parameters = ",".join(
            f"{name}={_escaped(str(value), ':,')}" for name, value in place.items() if value
        )
        message = "\n".join(filter(None, [finding.message, finding.hint]))
        lines.append(f"::{_ANNOTATIONS[finding.level]} {parameters}::{_escaped(message)}\n")
    return "".join(lines)


def _escaped(text: str, more: str = "") -> str:
    for character in f"%\r\n{more}":
        text = text.replace(character, f"%{ord(character):02X}")
    return text


def sarif(findings: Sequence[Finding]) -> str:
    """Writes SARIF, which code scanning reads: GitHub, GitLab, Azure, editors."""
    names = list(RULES)
    run = {
        "tool": {
            "driver": {
                "name": "pman lint",
                "version": __version__,
                "rules": [
                    {
                        "id": name,
                        "shortDescription": {"text": rule.meaning},
                        "defaultConfiguration": {"level": rule.level},
                    }
                    for name, rule in RULES.items()
                ],
            }
        },
        "columnKind": "unicodeCodePoints",
        "results": [_result(finding, names.index(finding.rule)) for finding in findings],
    }
    return (
        json.dumps({"$schema": SARIF, "version": "2.1.0", "runs": [run]}, indent=2, ensure_ascii=False) + "\n"
    )


def _result(finding: Finding, index: int) -> Mapping[str, Any]:
    message = ". ".join(filter(None, [finding.message, finding.hint]))
    result: dict[str, Any] = {
        "ruleId": finding.rule,
        "ruleIndex": index,
        "level": finding.level,
        "message": {"text": message},
    }
    if finding.file:
        region = {"region": {"startLine": finding.line}} if finding.line else {}
        result["locations"] = [
            {"physicalLocation": {"artifactLocation": {"uri": _uri(finding.file)}, **region}}
        ]
    return result


def _uri(file: str) -> str:
    path = Path(shown(file))
    return path.as_uri() if path.is_absolute() else quote(path.as_posix())


FORMATS: Mapping[str, Callable[[Sequence[Finding]], str]] = {
    "text": text,
    "json": as_json,
    "github": github,
    "sarif": sarif,
}
