"""Where Cromwell reads WDL 1.0 otherwise than miniwdl: its rules, from its code, to hold documents to.

Command sections: AstToCommandSectionElement and StringUtil.normalize; string literals: WdlParser of
draft 3 (`dquote_string`) and unescapeJava of commons-text; the finished script:
StandardAsyncExecutionActor.commandScriptContents. Read in Cromwell 93.
"""

from __future__ import annotations

import re
from typing import Any

import WDL

_SIMPLE = {"b": "\b", "n": "\n", "t": "\t", "f": "\f", "r": "\r"}
_REPLACED = {"SCRIPT_EPILOGUE": "sync", "SCRIPT_CLOSURE": "", "DOCKER_OUTPUT_DIR_LINK": ""}


class NotReadError(Exception):
    """What Cromwell fails a workflow for, after it has taken it."""


def task_of(text: str) -> Any:
    """The one task, as miniwdl reads it."""
    document: Any = WDL.parse_document(text)
    document.typecheck()
    (task,) = document.tasks
    assert [call.callee for call in document.workflow.body] == [task]
    return task


def command_of(text: str) -> str:
    """The command that Cromwell puts into its script."""
    parts = task_of(text).command.parts
    if not all(isinstance(part, str) for part in parts):
        raise NotReadError("a placeholder in the command")
    lines = "".join(parts).split("\n")
    while lines and not lines[0].strip():
        lines.pop(0)
    while lines and not lines[-1].strip():
        lines.pop()
    kinds = set("".join(_leading(line) for line in lines))
    if len(kinds) > 1:
        raise NotReadError(f"Cannot mix leading whitespace characters in command: {kinds}")
    cut = min((len(_leading(line)) for line in lines), default=0)
    return _normalized("\n".join(line[cut:] for line in lines))


def _leading(line: str) -> str:
    return line[: len(line) - len(line.lstrip())]


def _normalized(command: str) -> str:
    lines = re.split(r"\r?\n", command.lstrip("\r\n").rstrip("\r\n \t"))
    indents = [len(line) - len(line.lstrip(" \t")) for line in lines if line.strip()]
    return "\n".join(line[min(indents, default=0) :] for line in lines)


def script_of(text: str) -> str:
    """The command after Cromwell has put its own parts into the script."""
    command = command_of(text)
    for word, own in _REPLACED.items():
        command = command.replace(word, own)
    return command


def runtime_of(text: str) -> dict[str, Any]:
    """The runtime attributes, of which Cromwell and miniwdl must read the same."""
    lines = text.split("\n")
    found = {}
    for name, expression in task_of(text).runtime.items():
        value = expression.eval(WDL.Env.Bindings(), WDL.StdLib.Base("1.0")).json
        if isinstance(value, str):
            position = expression.pos
            written = lines[position.line - 1][position.column - 1 : position.end_column - 1]
            if literal(written) != value:
                raise NotReadError(f"{written} is {value!r} for miniwdl, {literal(written)!r} for Cromwell")
        found[name] = value
    return found


def literal(written: str) -> str | None:
    """What Cromwell's lexer makes of a string in quotes; None where it reads something else."""
    quote = written[:1]
    if quote not in ("'", '"'):
        return None
    end = re.compile(r"([^\n\r\x85\u2028\u2029]*?)(?=\$\{|~\{|(?<!\\)" + quote + ")").match(written, 1)
    return None if end is None or written[end.end() :] != quote else _unescaped(end[1])


def _unescaped(text: str) -> str:
    def one(match: re.Match[str]) -> str:
        octal, code, character = match.groups()
        if octal:
            return chr(int(octal, 8))
        return chr(int(code, 16)) if code else _SIMPLE.get(character, character or "")

    out = re.sub(r"\\(?:([0-3][0-7]{2}|[0-7]{1,2})|u+([0-9a-fA-F]{4})|(.)?)", one, text, flags=re.DOTALL)
    return out.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
