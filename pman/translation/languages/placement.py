"""Where a literal stands in a document: only where its language reads it as a whole.

A literal is safe by itself, but not inside quotes, glued to other text, or (in a shell) in a comment
or here-document. A template that puts one there works for tame values and breaks for hostile ones,
so it is refused for every value.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

from pman.translation.languages.literals import WORDS

MARK = "\0"
"""Stands before and after each literal while a template renders; no literal can hold it raw."""


SHOWN = "\3"
"""Begins what stands between two marks where a dry run shows that instead of the literal before it."""


class MisplacedError(ValueError):
    """A literal stands where its language would not read it as one."""

    def __init__(self, index: int, told: str) -> None:
        """`index`: of the literal in the text without marks."""
        super().__init__(told)
        self.index = index


def placed(language: str, text: str) -> str:
    """The text without its marks. Raises MisplacedError, naming what stands before."""
    parts = sent(text).split(MARK)
    if len(parts) > 1:
        places = _in_wdl(parts[::2], parts[1::2]) if language == "wdl" else _SAFE[language](parts[::2])
        for index, safe in enumerate(places):
            if not safe:
                ahead = _joined(parts[: 2 * index + 1])
                before = parts[2 * index].rpartition("\n")[2].strip()
                raise MisplacedError(len(ahead), f"after {before!r}: {_WHY[language]}")
    return _joined(parts)


def sent(text: str) -> str:
    """The text, its marks included, with the literals of a submission alone."""
    return _with(text, shown=False) if MARK + SHOWN in text else text


def shown(text: str) -> str:
    """The text, its marks included, with the literals that a dry run shows."""
    return _with(text, shown=True) if MARK + SHOWN in text else text


def _with(text: str, *, shown: bool) -> str:
    first, *rest = text.split(MARK)
    parts = [first]
    for literal, after in zip(rest[::2], rest[1::2], strict=True):
        if not literal.startswith(SHOWN):
            parts += (literal, after)
        elif shown:
            parts[-2:] = (literal.removeprefix(SHOWN), after)
        else:
            parts[-1] = after
    return MARK.join(parts)


def _joined(parts: Sequence[str]) -> str:
    """Texts and literals in turn."""
    return "".join(part.removeprefix(WORDS) if index % 2 else part for index, part in enumerate(parts))


_ALONE = (
    "{{ }} writes a whole literal, so it stands alone: no quotes around it, nothing glued to it; "
    "join text with ~ inside it"
)
_WHY = {
    "json": _ALONE,
    "yaml": _ALONE,
    "sh": _ALONE,
    "wdl": f"{_ALONE}; in a command section <<< >>> it must be {{{{ ... | words }}}}, and nowhere else",
}


_WHOLE = re.compile(r"""(?:"(?:\\.|[^"\\])*"|'(?:''|[^'])*')""")
_YAML_COMMENT = re.compile(r"(?:^|\s)#")
_YAML_BEFORE = re.compile(r"(?:^|[\[{,]|(?:^|\s)[?-]\s|:\s)\s*$")
_YAML_AFTER = re.compile(r"[ \t]*(?:$|\n|[,\]}]|:(?:\s|$)|[ \t]#)")


def _in_yaml(texts: list[str]) -> Iterator[bool]:
    """By line; a quoted text that spans lines is not looked through."""
    line = ""
    for before, after in zip(texts, [*texts[1:-1], texts[-1]], strict=False):
        line = (line + before).rpartition("\n")[2]
        rest = _WHOLE.sub("x", line)
        comment = _YAML_COMMENT.search(rest)
        alone = not set("\"'") & set(rest) and _YAML_BEFORE.search(rest) and _YAML_AFTER.match(after)
        yield bool(alone) if not comment else not set("\"'") & set(rest[: comment.start()])
        line += "x"


_HERE = re.compile(r"(?<!<)<<(?!<)(-)?[ \t]*[\\\"']?([^\s\\\"'<>|&;()\d][^\s\\\"'<>|&;()]*)")
_WHOLE_HERE = re.compile(_HERE.pattern + r"[^\n]*\n(?:.*?\n)??(?(1)\t*)\2$", re.DOTALL | re.MULTILINE)


def _in_shell(texts: list[str]) -> Iterator[bool]:
    return _shell_states(texts[:-1])


def _shell_states(texts: Iterable[str]) -> Iterator[bool]:
    state = ""
    here = False
    unclear = False  # a backslash in $'...' is read by some shells, and by others not
    backticks = False  # a backtick ends them within quotes, too
    for text in texts:
        code = _WHOLE_HERE.sub("", text)
        here = here or bool(_HERE.search(code))
        previous = " "
        for character in code:
            if state == "escape":
                state = ""
            elif state == '"escape':
                state = '"'
            elif character == "\\" and state == "$'":
                unclear = True
            elif character == "`" and state in ("", '"'):
                backticks = not backticks
            elif character == "'" and state in ("", "$'") and (state or previous == "$"):
                state = "" if state else "$'"
            elif character == "\\" and state in ("", '"'):
                state += "escape"
            elif character in "\"'" and state in ("", character):
                state = "" if state else character
            elif character == "#" and not state and previous in " \t\n;&|(":
                state = "#"
            elif character == "\n" and state == "#":
                state = ""
            previous = character
        yield not state and not here and not unclear and not backticks and not text.endswith("$")


_WDL_TOKEN = re.compile(
    r"""(?P<comment>\#[^\n]*)|(?P<string>"(?:[^"\\\n]|\\.)*"|'(?:[^'\\\n]|\\.)*')"""
    r"""|(?P<command>\bcommand\s*(?:<<<|\{))|(?P<open>["'])""",
    re.VERBOSE,
)
_WDL_BEFORE = re.compile(r"(?:^|[\s:=\[,({+])$")
_WDL_AFTER = re.compile(r"[\s,\])}+]|$")
_WORD_BEFORE = re.compile(r"(?:^|[\s=;])$")
_WORD_AFTER = re.compile(r"[\s;)]|$")


class _Command:
    """A WDL command section, as far as it is read: what a shell makes of it."""

    def __init__(self) -> None:
        self._text = ""
        self._holes = False
        self._read: list[str] = []
        self._states = _shell_states(iter(self._read.pop, None))

    def add(self, text: str) -> None:
        self._text += text

    def takes_words(self, after: str) -> bool:
        """Whether words of a shell may follow here, before this text."""
        text, self._text = self._text, ""
        self._holes = self._holes or "~{" in text  # a placeholder is WDL again, of any depth
        self._read.append(text)
        alone = _WORD_BEFORE.search(text) and _WORD_AFTER.match(after)
        return next(self._states) and bool(alone) and not self._holes


def _in_wdl(texts: Sequence[str], literals: Sequence[str]) -> Iterator[bool]:
    """Words of a shell in command sections `<<< >>>`, as a shell reads them; WDL elsewhere."""
    code, command = "", None
    for text, literal, after in zip(texts, literals, texts[1:], strict=False):
        rest = text
        while True:
            if command is None:
                found = _until_command(code + rest)
                if found is None:
                    code += rest
                    break
                (code, rest), command = found, _Command()
            inside, ended, rest = rest.partition(">>>")
            command.add(inside)
            if not ended:
                break
            code, command = "", None
        words = literal.startswith(WORDS)
        if command:
            yield command.takes_words(after) and words
        else:
            yield _takes_literal(code, after) and not words
            code += "x"


def _until_command(code: str) -> tuple[str, str] | None:
    """What stands before the next command section, and what follows its `<<<`."""
    for token in _WDL_TOKEN.finditer(code):
        if (token["command"] or "").endswith("<"):
            return code[: token.start()], code[token.end() :]
    return None


def _takes_literal(code: str, after: str) -> bool:
    """Whether WDL reads a literal between the two: not in a string, a comment or a command of braces."""
    tokens = list(_WDL_TOKEN.finditer(code))
    if any(token["open"] or token["command"] for token in tokens):
        return False
    comment = bool(tokens and tokens[-1]["comment"] and tokens[-1].end() == len(code))
    return not comment and bool(_WDL_BEFORE.search(code) and _WDL_AFTER.match(after))


_SAFE: Mapping[str, Callable[[list[str]], Iterator[bool]]] = {
    "json": _in_yaml,
    "yaml": _in_yaml,
    "sh": _in_shell,
}
