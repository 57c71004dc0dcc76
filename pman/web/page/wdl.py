"""The colours of WDL 1.0, for which pygments has no lexer: https://github.com/openwdl/wdl/blob/main/versions/1.0/SPEC.md."""

from __future__ import annotations

from pygments.lexer import RegexLexer, bygroups, using, words
from pygments.lexers.shell import BashLexer
from pygments.token import Comment, Keyword, Name, Number, Operator, Punctuation, String, Text, Whitespace

_WORDS = (
    "version", "import", "as", "alias", "struct", "task", "workflow", "input", "output", "call", "scatter",
    "if", "then", "else", "in", "meta", "parameter_meta", "runtime", "object",
)  # fmt: skip
_TYPES = ("Array", "Map", "Pair", "Object", "Boolean", "Int", "Float", "String", "File")


class WdlLexer(RegexLexer):
    """The command of a task is a script of a shell, and has its colours."""

    name = "WDL"
    tokens = {  # noqa: RUF012  (as pygments declares it)
        "root": [
            (r"\s+", Whitespace),
            (r"#.*", Comment.Single),
            (
                r"(command)(\s*)(<<<)((?s:.*?))(>>>)",
                bygroups(Keyword, Whitespace, Punctuation, using(BashLexer), Punctuation),  # type: ignore[no-untyped-call]  # it has no types
            ),
            (r"(version)(\s+)(\S+)", bygroups(Keyword, Whitespace, Number)),  # type: ignore[no-untyped-call]
            (r"([a-z_]\w*)(\s*)(:)", bygroups(Name.Attribute, Whitespace, Punctuation)),  # type: ignore[no-untyped-call]
            (words(_WORDS, suffix=r"\b"), Keyword),
            (words(_TYPES, suffix=r"\b"), Keyword.Type),
            (words(("true", "false"), suffix=r"\b"), Keyword.Constant),
            (r'"(?:[^"\\\n]|\\.)*"|\'(?:[^\'\\\n]|\\.)*\'', String),
            (r"\d+(?:\.\d+)?(?:[eE][+-]?\d+)?", Number),
            (r"[A-Za-z_]\w*", Name),
            (r"[-+*/%<>=!&|?~$]+", Operator),
            (r"[\[\](){},.:;]", Punctuation),
            (r".", Text),
        ]
    }
