"""The rules of a state.yaml: as they are written, and tried on the states that engines were in.

On the recorded states (states/ENGINE/*.json), a rule *holds* for some and *decides* those for which it is
the first that does. From that alone:

- a rule is shadowed where it holds for recorded states, decides none, and an earlier rule that decides some
  of them holds for all of them and for others as well: the general one stands before the special one;
- a state is ambiguous where two rules of another status hold for exactly the same recorded states: nothing
  tells which was meant. Where they hold for different ones, the order is the meaning: the first is special;
- a rule that decides nothing is not tried. That is no mistake: not every state can be brought about.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import yaml
from jinja2 import BaseLoader, meta, nodes
from jinja2.exceptions import TemplateError, TemplateNotFound
from jinja2.sandbox import ImmutableSandboxedEnvironment

from pman import schema
from pman.errors import ConfigError, EngineUnreachable
from pman.resources import STATES, TEMPLATES
from pman.suggest import meant, nearest
from pman.translation.overrides import RULES
from pman.translation.render import loader
from pman.translation.rules import ANSWERED, FUNCTIONS, Rules, check_expression, check_text, environment
from pman.translation.sources import place
from pman.translation.statefile import Rule
from pman.workshop.lint.findings import Finding

SHIPPED = tuple(sorted(path.name for path in TEMPLATES.iterdir() if path.is_dir()))

CLOSE = 0.87
"""How like a word is to one that an engine says, from 0 to 1, to be that one misspelt."""


@dataclass(frozen=True, slots=True)
class Written:
    """A state.yaml as it is written."""

    path: str
    content: Mapping[str, Any]
    root: yaml.Node

    def line(self, *path: str | int) -> int:
        mark = place(self.root, path)
        return mark.line + 1 if mark else 1


def of_engine(search: BaseLoader, engine: str, recorded: Path = STATES) -> Iterator[Finding]:
    """All that is wrong with the rules of an engine, its own and those that it extends."""
    found = list(_written(search, f"{engine}/{RULES}", (), recorded))
    yield from found
    if any(finding.level == "error" for finding in found):
        return
    try:
        rules = Rules(engine, search)
    except ConfigError as error:
        yield Finding("rules-syntax", str(error), f"{engine}/{RULES}")
        return
    path = search.get_source(environment(search), f"{engine}/{RULES}")[1] or rules.name
    trial = _Trial(engine, path)
    natives = {
        file.stem: json.loads(file.read_text("utf-8"))["native"]
        for file in sorted((recorded / engine).glob("*.json"))
    }
    for state, native in natives.items():
        yield from trial.add(rules, state, native)
    if trial.decided:
        yield from trial.findings()
    if engine in SHIPPED and not Path(path).is_relative_to(TEMPLATES):
        yield from trial.changed(Rules(engine, loader([])), natives)


# --- as they are written


def _written(search: BaseLoader, name: str, below: Sequence[str], recorded: Path) -> Iterator[Finding]:
    try:
        text, path, _ = search.get_source(environment(search), name)
    except TemplateNotFound:
        if below:  # told where it is extended
            return
        yield Finding("unknown-file", f"{name} does not exist: the engine has no rules", name)
        return
    except UnicodeDecodeError as error:
        yield Finding("unreadable-file", f"no UTF-8: {error.reason} at byte {error.start}", name)
        return
    try:
        root = yaml.compose(text, Loader=yaml.CSafeLoader)
        content = yaml.load(text, Loader=yaml.CSafeLoader)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        problem = getattr(error, "problem", None) or "not readable"
        yield Finding("rules-syntax", f"no YAML: {problem}", path or name, mark.line + 1 if mark else 0)
        return
    file = Written(path or name, content, root or yaml.ScalarNode("", ""))
    found = list(_endless(file.root, file.path)) or [*_twice(file.root, file.path), *_against_schema(file)]
    if found:
        yield from found
        return
    yield from _expressions(search, file)
    yield from _fields_never_seen(file, _seen(recorded / Path(file.path).parent.name))
    if extended := content.get("extends"):
        yield from _extended(search, file, name, extended, below, recorded)


def _extended(
    search: BaseLoader, file: Written, name: str, extended: str, below: Sequence[str], recorded: Path
) -> Iterator[Finding]:
    known = [other for other in search.list_templates() if other.endswith(f"/{RULES}")]
    if extended in (name, *below):
        yield Finding("rules-schema", f"it extends itself: {extended}", file.path, file.line("extends"))
    elif extended not in known:
        told = f"it extends {extended!r}, which does not exist"
        others = [other for other in known if other != name]
        yield Finding(
            "unknown-template", told, file.path, file.line("extends"), meant(extended, sorted(others))
        )
    else:
        yield from _written(search, extended, (*below, name), recorded)


def _endless(node: yaml.Node, path: str, around: tuple[yaml.Node, ...] = ()) -> Iterator[Finding]:
    """The first alias of what it stands in."""
    inner = [part for pair in node.value for part in pair] if isinstance(node, yaml.MappingNode) else []
    for part in node.value if isinstance(node, yaml.SequenceNode) else inner:
        if any(part is outer for outer in (*around, node)):
            told = "it holds itself, by an alias"
            yield Finding("rules-syntax", told, path, part.start_mark.line + 1)
            return
        yield from _endless(part, path, (*around, node))


def _twice(node: yaml.Node, path: str) -> Iterator[Finding]:
    if isinstance(node, yaml.MappingNode):
        seen = set()
        for key, value in node.value:
            if key.value in seen:
                told = f"{key.value!r} stands twice; YAML drops the first"
                yield Finding("rules-syntax", told, path, key.start_mark.line + 1)
            seen.add(key.value)
            yield from _twice(value, path)
    elif isinstance(node, yaml.SequenceNode):
        for item in node.value:
            yield from _twice(item, path)


def _against_schema(file: Written) -> Iterator[Finding]:
    for error in schema.errors(schema.validator(schema.load("state.json")), file.content):
        path = list(error.absolute_path)
        names = schema.unknown(error) if error.validator == "additionalProperties" else []
        line = file.line(*path, *names[:1])
        yield Finding("rules-schema", schema.message(error), file.path, line)


def _expressions(search: BaseLoader, file: Written) -> Iterator[Finding]:
    """Of one file. A value may use those before it, and those of what the file extends."""
    compiler = environment(search)
    inherited = _values(search, file.content.get("extends"))
    own = list(file.content.get("values", {}))
    values = [*inherited, *own]
    for index, (name, text) in enumerate(file.content.get("values", {}).items()):
        known = ["native", *inherited, *own[:index]]
        yield from _told(compiler, file, text, known, ("values", name), expression=True)
    for name, text in file.content.get("fields", {}).items():
        more = [] if name in ANSWERED else ["site"]
        yield from _told(compiler, file, text, ["native", *values, *more], ("fields", name), expression=True)
    for name, text in file.content.get("applied", {}).items():
        known = ["native", *values, "held"]
        yield from _told(compiler, file, text, known, ("applied", name), expression=True)
    for key, known in (
        ("rules", ["native", *values]),
        ("refusals", ["native"]),
        ("checks", ["native", "site"]),
    ):
        for index, rule in enumerate(file.content.get(key, ())):
            for word in ("when", "message", "hint"):
                if word in rule:
                    at = (key, index, word)
                    yield from _told(compiler, file, rule[word], known, at, expression=word == "when")


def _values(search: BaseLoader, name: str | None) -> list[str]:
    """The names of the values of a file, and of what it extends."""
    found: list[str] = []
    for file in written(search, name):
        found = [*file.content.get("values", {}), *found]
    return found


def written(search: BaseLoader, name: str | None) -> Iterator[Written]:
    """A file and those that it extends, the nearest first, as far as they can be read."""
    seen: set[str] = set()
    while name and name not in seen:
        seen.add(name)
        try:
            text, path, _ = search.get_source(environment(search), name)
            root = yaml.compose(text, Loader=yaml.CSafeLoader)
            content = yaml.load(text, Loader=yaml.CSafeLoader)
        except (TemplateNotFound, yaml.YAMLError, ValueError):
            return
        if root is None or not isinstance(content, dict):
            return
        yield Written(path or name, content, root)
        name = content.get("extends")


def _told(
    compiler: ImmutableSandboxedEnvironment,
    file: Written,
    text: str,
    known: Sequence[str],
    at: tuple[str | int, ...],
    *,
    expression: bool,
) -> Iterator[Finding]:
    try:
        (check_expression if expression else check_text)(compiler, "", text, known)
    except ConfigError as error:
        line = file.line(*at)
        if isinstance(error.__cause__, TemplateError):
            told = str(error.__cause__.message)
            yield Finding(
                "rules-expression", f"{'.'.join(map(str, at))}: {told}", file.path, line, text[:200]
            )
        else:
            names = _unknown_names(compiler, text if not expression else f"{{{{ {text} }}}}", known)
            for name in names:
                hint = meant(name, sorted([*known, *FUNCTIONS]))
                yield Finding("unknown-name", f"{name} is not known", file.path, line, hint)


def _unknown_names(compiler: ImmutableSandboxedEnvironment, template: str, known: Sequence[str]) -> list[str]:
    return sorted(meta.find_undeclared_variables(compiler.parse(template)) - {*known, *FUNCTIONS})


_Seen = dict[str, "_Seen"]
"""The fields that recorded states have, all together."""


def _seen(directory: Path) -> _Seen:
    seen: _Seen = {}
    for file in directory.glob("*.json"):
        _see(seen, json.loads(file.read_text("utf-8"))["native"])
    return seen


def _see(seen: _Seen, value: object) -> None:
    for name, inner in value.items() if isinstance(value, Mapping) else ():
        _see(seen.setdefault(str(name), {}), inner)


def _fields_never_seen(file: Written, seen: _Seen) -> Iterator[Finding]:
    """Of `native`, a field that no recorded state has and that is nearly one that some have."""
    texts: list[tuple[tuple[str | int, ...], str]] = [
        ((key, name), text)
        for key in ("values", "fields")
        for name, text in file.content.get(key, {}).items()
    ]
    for index, rule in enumerate(file.content.get("rules", ())):
        texts += [
            (("rules", index, word), rule[word]) for word in ("when", "message", "hint") if word in rule
        ]
    for at, text in texts:
        template = text if at[-1] in ("message", "hint") else f"{{{{ {text} }}}}"
        for name, known in _misspelt_fields(template, seen):
            told = f"{name} is in no recorded state, so it is never there"
            if near := nearest(name.rpartition(".")[2], known, CLOSE):
                yield Finding("unknown-word", told, file.path, file.line(*at), f"did you mean {near}?")


def _misspelt_fields(template: str, seen: _Seen) -> Iterator[tuple[str, list[str]]]:
    """The first unknown part of each path, and what there is in its place."""
    try:
        tree = environment(BaseLoader()).parse(template)
    except TemplateError:  # told by itself
        return
    for node in tree.find_all(nodes.Getattr):
        path, inner = _path(node), seen
        for index, name in enumerate(path[1:] if path[:1] == ("native",) else ()):
            if name not in inner:
                yield ".".join(path[: index + 2]), list(inner)
                break
            inner = inner[name]


# --- tried on recorded states


@dataclass(slots=True)
class _Trial:
    engine: str
    path: str
    """Of the engine's state.yaml."""

    rules: tuple[Rule, ...] = ()
    decided: dict[str, int | None] = field(default_factory=dict)
    """By the state: the number of the rule that decides it."""

    holding: dict[int, set[str]] = field(default_factory=dict)
    """By the number of a rule: the states it holds for."""

    words: dict[str, set[str]] = field(default_factory=dict)
    """By an expression that a rule compares with a word: what it was in the states."""

    def add(self, rules: Rules, state: str, native: Mapping[str, Any]) -> Iterator[Finding]:
        try:
            tried = list(rules.tried(native))
            rules.only("fields").read(state, native)  # the fields are tried by themselves, see answers.py
        except EngineUnreachable:  # by a rule, which is an answer as well
            pass
        except ConfigError as error:
            fault = error.faults[0] if error.faults else None
            told = f"recorded state {state}: {error}"
            yield Finding("rule-fails", told, fault.file if fault else self.path, fault.line if fault else 0)
            return
        self.rules = tuple(rule for rule, _ in tried)
        held = [number for number, (_, holds) in enumerate(tried) if holds]
        self.decided[state] = held[0] if held else None
        for number in held:
            self.holding.setdefault(number, set()).add(state)
        self._listen(rules, native)

    def _listen(self, rules: Rules, native: Mapping[str, Any]) -> None:
        variables = {"native": native, **rules.values(native)}
        for rule in self.rules:
            for path, _ in _compared(str(rule.source.get("when", ""))):
                value = _valued(variables, path)
                if isinstance(value, str):
                    self.words.setdefault(".".join(path), set()).add(value)

    def findings(self) -> Iterator[Finding]:
        yield from self._without_rule()
        yield from self._unreachable()
        for number, rule in enumerate(self.rules):
            if (
                Path(rule.file).parent.name == self.engine
            ):  # the others are tried on their own engine's states
                yield from self._of_rule(number)
                yield from self._misspelt(rule)

    def changed(self, shipped: Rules, natives: Mapping[str, Mapping[str, Any]]) -> Iterator[Finding]:
        """At the site's rule that decides now; where that is a shipped one, by other values, at its file."""
        found: dict[tuple[str, int], list[str]] = {}
        for state, number in self.decided.items():
            before = next((rule for rule, holds in shipped.tried(natives[state]) if holds), None)
            if number is None or before is None:
                continue
            rule = self.rules[number]
            was, now = before.source["status"], rule.source["status"]
            if was != now:
                own = not Path(rule.file).is_relative_to(TEMPLATES)
                place = (rule.file, rule.line) if own else (self.path, 0)
                found.setdefault(place, []).append(f"{state}: {was} -> {now}")
        for place, told in found.items():
            yield Finding("status-changed", f"another status than shipped: {', '.join(told)}", *place)

    def _without_rule(self) -> Iterator[Finding]:
        file, line = (self.rules[-1].file, self.rules[-1].line) if self.rules else (self.path, 0)
        for state, number in self.decided.items():
            if number is None:
                told = f"no rule decides the recorded state {state}"
                yield Finding("state-without-rule", told, file, line, "end with a rule without `when`")

    def _unreachable(self) -> Iterator[Finding]:
        seen: dict[str, Rule] = {}
        for number, rule in enumerate(self.rules):
            when = " ".join(str(rule.source.get("when", "true")).split())
            if when in ("true", "True") and number < len(self.rules) - 1:
                told = f"it always holds: the {len(self.rules) - 1 - number} rules after it are never reached"
                yield Finding(
                    "rule-unreachable", told, rule.file, rule.line, "put it last, or give it a `when`"
                )
                return
            if when in seen and seen[when].file == rule.file:
                told = f"the rule in line {seen[when].line} has the same condition"
                yield Finding("rule-unreachable", told, rule.file, rule.line)
            seen.setdefault(when, rule)

    def _of_rule(self, number: int) -> Iterator[Finding]:
        rule, held = self.rules[number], self.holding.get(number, set())
        if number in self.decided.values():
            return
        states = ", ".join(sorted(held)[:3])
        deciders = sorted({first for state in held if (first := self.decided[state]) is not None})
        for first in deciders:
            earlier, others = self.rules[first], self.holding[first]
            if earlier.file != rule.file or _unconditional(earlier):
                continue
            if held < others:
                told = (
                    f"the rule in line {earlier.line} is more general and stands before it: "
                    f"this one decides none of the states it is for ({states})"
                )
                yield Finding("rule-shadowed", told, rule.file, rule.line, "put the special rule first")
                return
            other_status = earlier.source["status"] != rule.source["status"]
            if held == others and len(deciders) == 1 and other_status:
                told = (
                    f"nothing recorded tells it from the rule in line {earlier.line}, which answers "
                    f"{earlier.source['status']} and not {rule.source['status']} ({states})"
                )
                yield Finding("ambiguous-state", told, rule.file, rule.line)
                return
        if not _unconditional(rule):
            when = " ".join(str(rule.source["when"]).split())
            told = "no recorded state is decided by it"
            yield Finding("rule-not-tried", told, rule.file, rule.line, when[:100])

    def _misspelt(self, rule: Rule) -> Iterator[Finding]:
        for path, words in _compared(str(rule.source.get("when", ""))):
            said = self.words.get(".".join(path), set())
            for word in words - said:
                near = nearest(word, sorted(said), CLOSE)
                if near and len(word) > 3:
                    told = f"{'.'.join(path)} was never {word!r} in the recorded states"
                    yield Finding("unknown-word", told, rule.file, rule.line, f"did you mean {near!r}?")


def _unconditional(rule: Rule) -> bool:
    return str(rule.source.get("when", "true")).strip() in ("true", "True")


@cache
def _compared(when: str) -> list[tuple[tuple[str, ...], set[str]]]:
    """The fields that an expression compares with words: `a.b == 'word'`, `a.b in ('one', 'other')`."""
    if not when:
        return []
    found = []
    for compare in environment(BaseLoader()).parse("{{ " + when + " }}").find_all(nodes.Compare):
        path = _path(compare.expr)
        for operand in compare.ops if path else ():
            if operand.op in ("eq", "ne", "in", "notin"):
                words = {
                    node.value
                    for node in [operand.expr, *operand.expr.find_all(nodes.Const)]
                    if isinstance(node, nodes.Const) and isinstance(node.value, str)
                }
                if words:
                    found.append((path, words))
    return found


def _path(node: nodes.Node) -> tuple[str, ...]:
    """`native.State.Status` as its parts; () for what is no such path."""
    if isinstance(node, nodes.Name):
        return (node.name,)
    if isinstance(node, nodes.Getattr):
        owner = _path(node.node)
        return (*owner, node.attr) if owner else ()
    return ()


def _valued(variables: Mapping[str, Any], path: Sequence[str]) -> object:
    value: Any = variables
    for name in path:
        value = value.get(name) if isinstance(value, Mapping) else None
    return value
