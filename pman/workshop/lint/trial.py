"""Tries the rules of a state.yaml on the states that engines were in.

On the recorded states (states/ENGINE/*.json), a rule *holds* for some and *decides* those for which it is
the first that does. From that alone:

- a rule is shadowed where it holds for recorded states, decides none, and an earlier rule that decides some
  of them holds for all of them and for others as well: the general one stands before the special one;
- a state is ambiguous where two rules of another status hold for exactly the same recorded states: nothing
  tells which was meant. Where they hold for different ones, the order is the meaning: the first is special;
- a rule that decides nothing is not tried. That is no mistake: not every state can be brought about.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import nodes

from pman.errors import ConfigError, EngineUnreachable
from pman.resources import shipped_name
from pman.suggest import nearest
from pman.translation.rules import Rules, environment, expression
from pman.translation.statefile import Rule
from pman.workshop.lint.findings import Finding

CLOSE = 0.87
"""How like a word is to one that an engine says, from 0 to 1, to be that one misspelt."""

SYNTAX = environment()


@dataclass(slots=True)
class Trial:
    engine: str
    path: str
    """The path of the engine's state.yaml."""

    rules: tuple[Rule, ...] = ()
    decided: dict[str, int | None] = field(default_factory=dict)
    """The number of the rule that decides a state, by the state."""

    holding: dict[int, set[str]] = field(default_factory=dict)
    """The states that a rule holds for, by the number of the rule."""

    words: dict[str, set[str]] = field(default_factory=dict)
    """The values in the states of an expression that a rule compares with a word, by the expression."""

    def add(self, rules: Rules, state: str, native: Mapping[str, Any]) -> Iterator[Finding]:
        try:
            tried = list(rules.tried(native))
            rules.only("fields").read(state, native)  # the fields are tried by themselves, see states.py
        except EngineUnreachable:  # by a rule, which is an answer as well
            pass
        except ConfigError as error:
            file, line = (error.faults[0].file, error.faults[0].line) if error.faults else (self.path, 0)
            yield Finding("rule-fails", f"recorded state {state}: {error}", file, line)
            return
        self.rules = tuple(rule for rule, _ in tried)
        numbers = [number for number, (_, holds) in enumerate(tried) if holds]
        self.decided[state] = numbers[0] if numbers else None
        for number in numbers:
            self.holding.setdefault(number, set()).add(state)
        self._listen(rules, native)

    def _listen(self, rules: Rules, native: Mapping[str, Any]) -> None:
        variables = {"native": native, **rules.values(native)}
        for rule in self.rules:
            for path, _ in _compared(rule.condition):
                value = expression(path)(**variables)
                if isinstance(value, str):
                    self.words.setdefault(path, set()).add(value)

    def findings(self) -> Iterator[Finding]:
        yield from self._without_rule()
        yield from self._unreachable()
        for number, rule in enumerate(self.rules):
            # the others are tried on their own engine's states
            if Path(rule.file).parent.name == self.engine:
                yield from self._of_rule(number)
                yield from self._misspelt(rule)

    def changed(self, shipped: Rules, natives: Mapping[str, Mapping[str, Any]]) -> Iterator[Finding]:
        """At the site's rule that decides now; where that is a shipped one, by other values, at its file."""
        changes: dict[tuple[str, int], list[str]] = {}
        for state, number in self.decided.items():
            before = next((rule for rule, holds in shipped.tried(natives[state]) if holds), None)
            if number is None or before is None:
                continue
            rule = self.rules[number]
            was, now = before.source["status"], rule.source["status"]
            if was != now:
                own = not shipped_name(rule.file)
                place = (rule.file, rule.line) if own else (self.path, 0)
                changes.setdefault(place, []).append(f"{state}: {was} -> {now}")
        for place, states in changes.items():
            yield Finding("status-changed", f"another status than shipped: {', '.join(states)}", *place)

    def _without_rule(self) -> Iterator[Finding]:
        file, line = (self.rules[-1].file, self.rules[-1].line) if self.rules else (self.path, 0)
        for state, number in self.decided.items():
            if number is None:
                message = f"no rule decides the recorded state {state}"
                yield Finding("state-without-rule", message, file, line, "end with a rule without `when`")

    def _unreachable(self) -> Iterator[Finding]:
        seen: dict[str, Rule] = {}
        for after, rule in zip(reversed(range(len(self.rules))), self.rules, strict=True):
            when = _when(rule)
            if _unconditional(rule) and after:
                message = f"it always holds: the {after} rules after it are never reached"
                hint = "put it last, or give it a `when`"
                yield Finding("rule-unreachable", message, rule.file, rule.line, hint)
                return
            if when in seen and seen[when].file == rule.file:
                message = f"the rule in line {seen[when].line} has the same condition"
                yield Finding("rule-unreachable", message, rule.file, rule.line)
            seen.setdefault(when, rule)

    def _of_rule(self, number: int) -> Iterator[Finding]:
        rule, states = self.rules[number], self.holding.get(number, set())
        if number in self.decided.values():
            return
        examples = ", ".join(sorted(states)[:3])
        deciders = sorted({first for state in states if (first := self.decided[state]) is not None})
        for first in deciders:
            earlier, others = self.rules[first], self.holding[first]
            if earlier.file != rule.file or _unconditional(earlier):
                continue
            if states < others:
                message = (
                    f"the rule in line {earlier.line} is more general and stands before it: "
                    f"this one decides none of the states it is for ({examples})"
                )
                yield Finding("rule-shadowed", message, rule.file, rule.line, "put the special rule first")
                return
            other_status = earlier.source["status"] != rule.source["status"]
            if states == others and len(deciders) == 1 and other_status:
                message = (
                    f"nothing recorded tells it from the rule in line {earlier.line}, which answers "
                    f"{earlier.source['status']} and not {rule.source['status']} ({examples})"
                )
                yield Finding("ambiguous-state", message, rule.file, rule.line)
                return
        if not _unconditional(rule):
            message = "no recorded state is decided by it"
            yield Finding("rule-not-tried", message, rule.file, rule.line, _when(rule)[:100])

    def _misspelt(self, rule: Rule) -> Iterator[Finding]:
        for path, words in _compared(rule.condition):
            said = self.words.get(path, set())
            for word in words - said:
                near = nearest(word, sorted(said), CLOSE)
                if near and len(word) > 3:
                    message = f"{path} was never {word!r} in the recorded states"
                    yield Finding("unknown-word", message, rule.file, rule.line, f"did you mean {near!r}?")


def _when(rule: Rule) -> str:
    """Writes a rule's condition on one line."""
    return " ".join(rule.condition.split())


def _unconditional(rule: Rule) -> bool:
    return _when(rule) in ("true", "True")


@cache
def _compared(when: str) -> list[tuple[str, set[str]]]:
    """Finds the fields that an expression compares with words: `a.b == 'word'`, `a.b in ('one', 'other')`."""
    compared = []
    for compare in SYNTAX.parse("{{ " + when + " }}").find_all(nodes.Compare):
        path = ".".join(path_of(compare.expr))
        for operand in compare.ops if path else ():
            if operand.op in ("eq", "ne", "in", "notin"):
                words = {
                    node.value
                    for node in [operand.expr, *operand.expr.find_all(nodes.Const)]
                    if isinstance(node, nodes.Const) and isinstance(node.value, str)
                }
                if words:
                    compared.append((path, words))
    return compared


def path_of(node: nodes.Node) -> tuple[str, ...]:
    """`native.State.Status` as its parts; () for what is no such path."""
    if isinstance(node, nodes.Name):
        return (node.name,)
    if isinstance(node, nodes.Getattr):
        owner = path_of(node.node)
        return (*owner, node.attr) if owner else ()
    return ()
