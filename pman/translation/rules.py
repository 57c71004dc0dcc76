"""Native state -> JobInfo, by the state.yaml of an engine: data, in order, the first rule that holds."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from copy import copy
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal, cast, get_args

from jinja2 import BaseLoader, ChainableUndefined, Environment, Template, meta
from jinja2.environment import TemplateExpression
from jinja2.exceptions import TemplateError
from jinja2.sandbox import ImmutableSandboxedEnvironment

from pman.errors import ConfigError, EngineRefused, EngineUnreachable, Fault, Refused
from pman.job import JobInfo, JobStatus
from pman.translation import statefile
from pman.translation.functions import FUNCTIONS, TESTS
from pman.translation.statefile import Rule, StateFile, StateSource

FAILURES = (
    TemplateError,
    TypeError,
    ValueError,
    ArithmeticError,
    LookupError,
    AttributeError,
    RecursionError,
)
"""Raised by a template, or an expression of a rule, that meets values it was not written for."""

NativeState = Mapping[str, Any]
"""The whole of what an engine says of a job, as plain data."""

ANSWERED = ("image", "argv", "timestamp", "exit_code", "digest")
"""The fields that each poll needs; the others are read where API v2 asks for them (fields.py)."""

Section = Literal["fields", "applied"]
SECTIONS: tuple[Section, ...] = get_args(Section)


class _Missing(ChainableUndefined):
    """Stands for a field that an engine left out: neither more nor less than anything."""

    def __lt__(self, _: object) -> bool:  # type: ignore[override]  # Jinja's own only ever raises
        return False

    __le__ = __gt__ = __ge__ = __lt__  # type: ignore[assignment]  # an undefined compares with all


def environment(search: BaseLoader | None = None) -> ImmutableSandboxedEnvironment:
    """Makes what compiles rules. Engines leave empty fields out, so a missing field is no error in it."""
    jinja = ImmutableSandboxedEnvironment(loader=search, undefined=_Missing)
    jinja.globals.update(FUNCTIONS)
    jinja.tests.update(TESTS)
    return jinja


_ENVIRONMENT = environment()
_TEXTS = 8192
"""Expressions and messages that are kept; those that are shipped are some 1500."""


@lru_cache(maxsize=_TEXTS)
def expression(text: str) -> TemplateExpression:
    """Compiles a condition. Raises TemplateError."""
    return _ENVIRONMENT.compile_expression(text)


@lru_cache(maxsize=_TEXTS)
def _names(text: str) -> frozenset[str]:
    """Lists the names that a text uses and does not itself set. Raises TemplateError."""
    return frozenset(meta.find_undeclared_variables(_ENVIRONMENT.parse(text))) - FUNCTIONS.keys()


def unknown_names(text: str, usable: Iterable[str], *, is_expression: bool) -> list[str]:
    """Lists the names in a text that it is not given. Raises TemplateError for one that cannot be read."""
    if is_expression:
        expression(text)
    return sorted(_names("{{ " + text + " }}" if is_expression else text).difference(usable))


def _check(at: str, text: str, usable: Iterable[str], *, is_expression: bool) -> None:
    try:
        names = unknown_names(text, usable, is_expression=is_expression)
    except TemplateError as error:
        raise ConfigError(f"{at}: {text!r}: {error.message}") from error
    if names:
        choice = ", ".join([*usable, *(f"{name}()" for name in FUNCTIONS)])
        raise ConfigError(f"{at}: {', '.join(names)} is not known; use {choice}")


@dataclass(frozen=True, slots=True)
class _Compiled:
    rule: Rule
    message: Template
    hint: Template

    @property
    def source(self) -> Mapping[str, Any]:
        return self.rule.source

    def holds(self, variables: Mapping[str, object]) -> bool:
        return bool(expression(self.rule.condition)(**variables))


class _Decision:
    """A list of rules as one if/elif template: an order of magnitude faster than one expression each."""

    def __init__(self, jinja: Environment, where: str, rules: Sequence[Rule], usable: Sequence[str]) -> None:
        self.rules: list[_Compiled] = []
        chain = "{% if false %}"
        for index, rule in enumerate(rules):
            at = f"{where}[{index}]"
            texts = [rule.source["message"], rule.source.get("hint", "")]
            _check(at, rule.condition, usable, is_expression=True)
            for text in texts:
                _check(at, text, usable, is_expression=False)
            chain += "{% elif " + rule.condition + " %}" + str(index)
            self.rules.append(_Compiled(rule, *map(jinja.from_string, texts)))
        self._chain = jinja.from_string(chain + "{% endif %}")

    def rule(self, **variables: object) -> _Compiled | None:
        """Finds the first that holds."""
        index = self._chain.render(variables)
        return self.rules[int(index)] if index else None


def compiled(engine: str, search: BaseLoader) -> Rules:
    """Compiles the rules of an engine, once for the same files. Raises ConfigError as Rules."""
    return _compiled(engine, search, statefile.lineage(search, f"{engine}/state.yaml"))


@lru_cache(maxsize=32)
def _compiled(engine: str, search: BaseLoader, _: tuple[StateSource, ...]) -> Rules:
    return Rules(engine, search)


class Rules:
    """The compiled state.yaml of one engine. Raises ConfigError naming file and rule."""

    def __init__(self, engine: str, search: BaseLoader) -> None:
        """`compiled` gives the same, once for the same files."""
        self._environment = environment(search)
        self.name = f"{engine}/state.yaml"
        self._at = f"templates/{self.name}"
        file = statefile.read(search, self.name)
        self.written = {section: file.named(section) for section in SECTIONS}
        """The expressions of each section, by the names of what they make."""

        values = file.named("values")
        self._names = tuple(values)
        self._values = self._named(values)
        self._fields = self._answered()
        self._states = self._decision(file, "rules", "native", *self._names)
        self.calls_overdue = any(rule.source.get("overdue") for rule in file.rules())
        """True where a rule calls jobs overdue."""

        self._refusals = self._decision(file, "refusals", "native")
        self._checks = self._decision(file, "checks", "native", "site")

    def _decision(self, file: StateFile, section: str, *usable: str) -> _Decision:
        return _Decision(self._environment, f"{self._at}: {section}", file.rules(section), usable)

    def check_complete(self) -> None:
        """Raises ConfigError where a state may have no rule: such a job would never end for the platform."""
        last = self._states.rules[-1].rule if self._states.rules else None
        if last is None or last.condition != "true":
            message = "a state may have no rule: let the last one have no `when`, or extend the shipped ones"
            file, line = (last.file, last.line) if last else (self._at, 0)
            raise ConfigError.of([Fault(self.name, message, file, line)])

    def _named(self, values: Mapping[str, str]) -> Template:
        """Compiles all values as one template that sets them: a third of the time of one expression each."""
        for index, (name, text) in enumerate(values.items()):
            before = ("native", *list(values)[:index])
            _check(f"{self._at}: values: {name}", text, before, is_expression=True)
        return self._environment.from_string(
            "".join("{% set " + name + " = (" + text + ") %}" for name, text in values.items())
        )

    def _answered(self) -> TemplateExpression:
        chosen = {name: text for name, text in self.written["fields"].items() if name in ANSWERED}
        return self._expression("fields", chosen, ("native", *self._names))

    def only(self, section: Section, *names: str) -> Rules:
        """Makes the same rules with these expressions alone: to find the one that fails for a state."""
        some = copy(self)
        chosen = {name: self.written[section][name] for name in names}
        some.written = {each: chosen if each == section else {} for each in SECTIONS}
        some._fields = some._answered()
        return some

    def _expression(
        self, section: Section, expressions: Mapping[str, str], usable: Sequence[str]
    ) -> TemplateExpression:
        """Compiles all expressions as one dict: a third of the time of one expression each."""
        for text in expressions.values():
            _check(f"{self._at}: {section}", text, usable, is_expression=True)
        pairs = ", ".join(f"{name!r}: ({text})" for name, text in expressions.items())
        return self._environment.compile_expression("{" + pairs + "}", undefined_to_none=False)

    def read(self, jid: str, native: NativeState) -> JobInfo:
        """Answers for a job in this state. Raises EngineUnreachable where a rule says so, or ConfigError."""
        try:
            return self._info(jid, native)
        except FAILURES as error:
            raise ConfigError(f"{self._at}: a rule fails for the state of {jid}: {error}") from error

    def tried(self, native: NativeState) -> Iterator[tuple[Rule, bool]]:
        """Tries the rules on a state in order: each, and whether it holds; the first that does decides.

        One expression each, so slower than `read`. Raises ConfigError, naming the place, for one that fails.
        """
        variables = {"native": native, **self.values(native)}
        for compiled in self._states.rules:
            rule = compiled.rule
            try:
                holds = compiled.holds(variables)
            except FAILURES as error:
                message = f"{self._at}: the rule fails for this state: {error}"
                raise ConfigError.of([Fault(self.name, message, rule.file, rule.line)]) from error
            yield rule, holds

    def reader(
        self, section: Section, more: Iterable[str]
    ) -> Callable[[NativeState, Mapping[str, object]], Mapping[str, Any]]:
        """Makes a function: what a section makes of a state and of `more` variables, without ANSWERED.

        Raises ConfigError, now for what cannot be compiled, then for what fails for a state.
        """
        chosen = {name: text for name, text in self.written[section].items() if name not in ANSWERED}
        usable = ("native", *self._names, *more)
        compiled = self._expression(section, chosen, usable)

        def read(native: NativeState, variables: Mapping[str, object]) -> Mapping[str, Any]:
            try:
                return compiled(**self._variables(native), **variables) or {}
            except FAILURES as error:
                message = f"{self._at}: one of its {section} fails for this state: {error}"
                raise ConfigError(message) from error

        return read

    def values(self, native: NativeState) -> Mapping[str, Any]:
        """Works out the named `values` for a state. Raises ConfigError for one that fails."""
        try:
            return {name: value for name, value in self._variables(native).items() if name != "native"}
        except FAILURES as error:
            raise ConfigError(f"{self._at}: a value fails for this state: {error}") from error

    def _variables(self, native: NativeState) -> Mapping[str, Any]:
        if not self._names:
            return {"native": native}
        module = self._values.make_module({"native": native})
        return {"native": native, **{name: getattr(module, name) for name in self._names}}

    def _info(self, jid: str, native: NativeState) -> JobInfo:
        variables = self._variables(native)
        rule = self._states.rule(**variables)
        if rule is None:  # not undefined: the platform would cancel a job that may be doing well
            status, message, hint = "started", f"{self._at} has no rule for this state", ""
        else:
            status = rule.source["status"]
            message, hint = rule.message.render(variables), rule.hint.render(variables)
        if status == "unavailable":
            raise EngineUnreachable(message, hint)
        fields = self._fields(**variables) or {}
        timestamp, exit_code = str(fields.get("timestamp") or ""), fields.get("exit_code")
        return JobInfo(
            jid=jid,
            image=str(fields.get("image") or ""),
            cmd=shlex.join(fields.get("argv") or ()),
            status=cast(JobStatus, status),
            message=message,
            hint=hint,
            timestamp="" if timestamp.startswith("0001-") else timestamp,  # Go's zero time
            exit_code=exit_code if isinstance(exit_code, int) else None,
            digest=str(fields.get("digest") or ""),
            overdue=rule is not None and rule.source.get("overdue", False),
        )

    def refusal(self, refused: EngineRefused) -> Refused:
        """Joins the engine's words with pman's explanation, and the HTTP status that fits."""
        native = refused.native
        rule = self._refusals.rule(native=native)
        if rule is None:
            return Refused(str(native["message"]), "", 502)
        message = f"{rule.message.render(native=native)}: {native['message']}"
        return Refused(message, rule.hint.render(native=native), int(rule.source["answer"]))

    def check(self, native: NativeState, site: Mapping[str, object]) -> None:
        """Raises ConfigError with all that keeps this engine from honouring the configuration."""
        variables = {"native": native, "site": site}
        if rules := [rule for rule in self._checks.rules if rule.holds(variables)]:
            messages = [rule.message.render(variables) for rule in rules]
            hints = [rule.hint.render(variables) for rule in rules]
            raise ConfigError("; ".join(messages), "; ".join(filter(None, hints)))
