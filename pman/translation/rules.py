"""Native state -> JobInfo, by the state.yaml of an engine: data, in order, the first rule that holds."""

from __future__ import annotations

import json
import shlex
import signal
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from copy import copy
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, Literal, cast, get_args

from jinja2 import BaseLoader, ChainableUndefined, Template, meta
from jinja2.environment import TemplateExpression
from jinja2.exceptions import TemplateError
from jinja2.sandbox import ImmutableSandboxedEnvironment

from pman.errors import ConfigError, EngineRefused, EngineUnreachable, Fault, Refused
from pman.job import JobInfo, JobStatus
from pman.translation import statefile
from pman.translation.statefile import Rule

FAILURES = (
    TemplateError,
    TypeError,
    ValueError,
    ArithmeticError,
    LookupError,
    AttributeError,
    RecursionError,
)
"""What a template, or an expression of a rule, may raise that meets values it was not written for."""

NativeState = Mapping[str, Any]
"""All that an engine says of a job, as plain data."""


class _Missing(ChainableUndefined):
    """A field that an engine left out: neither more nor less than anything."""

    def __lt__(self, _: object) -> bool:  # type: ignore[override]  # Jinja's own only ever raises
        return False

    __le__ = __gt__ = __ge__ = __lt__  # type: ignore[assignment]  # an undefined compares with all


def _signal_name(number: int) -> str:
    """The name of a signal, SIGKILL for 9; '' for what is none."""
    return signal.Signals(number).name if number in {item.value for item in signal.Signals} else ""


def moment(text: object) -> datetime | None:
    """Of ISO 8601, also with nanoseconds, or of seconds since 1970; None for '', 0 and Go's zero time."""
    if isinstance(text, int | float):
        return datetime.fromtimestamp(text, UTC) if text else None
    if not text or str(text).startswith("0001-"):
        return None
    found = datetime.fromisoformat(str(text))
    return found if found.tzinfo else found.replace(tzinfo=UTC)


def _seconds_between(earlier: object, later: object) -> float:
    """From one timestamp to a later one; 0 where one of the two is not known."""
    moments = moment(earlier), moment(later)
    return (moments[1] - moments[0]).total_seconds() if moments[0] and moments[1] else 0


def _seconds_since(timestamp: object) -> float:
    """From a timestamp to now, by pman's clock; 0 where it is not known."""
    return _seconds_between(timestamp, datetime.now(UTC).isoformat())


def _from_json(text: object) -> object:
    """What a text of JSON holds; none where there is none."""
    return json.loads(str(text)) if text else None


FUNCTIONS: Mapping[str, Callable[..., object]] = {
    "signal": _signal_name,
    "seconds_since": _seconds_since,
    "seconds_between": _seconds_between,
    "from_json": _from_json,
}
"""Those of expressions and messages."""


ANSWERED = ("image", "argv", "timestamp", "exit_code", "digest")
"""The fields that each poll needs; the others are read where API v2 asks for them (details.py)."""


Section = Literal["fields", "applied"]
SECTIONS: tuple[Section, ...] = get_args(Section)


def _exit_code(value: object) -> int | None:
    return value if isinstance(value, int) else None


@dataclass(frozen=True, slots=True)
class _Compiled:
    rule: Rule
    message: Template
    hint: Template

    @property
    def source(self) -> Mapping[str, Any]:
        return self.rule.source


class _Decision:
    """A list of rules as one if/elif template: an order of magnitude faster than one expression each."""

    def __init__(
        self,
        environment: ImmutableSandboxedEnvironment,
        where: str,
        rules: Sequence[Rule],
        known: Iterable[str] = ("native", "site"),
    ) -> None:
        self._rules: list[_Compiled] = []
        self._conditions: dict[str, TemplateExpression] = {}
        """Each by itself, compiled when somebody asks."""

        chain = "{% if false %}"
        for index, rule in enumerate(rules):
            at = f"{where}[{index}]"
            condition = rule.source.get("when", "true")
            check_expression(environment, at, condition, known)
            chain += "{% elif " + condition + " %}" + str(index)
            texts = [rule.source["message"], rule.source.get("hint", "")]
            for text in texts:
                check_text(environment, at, text, known)
            self._rules.append(_Compiled(rule, *map(environment.from_string, texts)))
        self._chain = environment.from_string(chain + "{% endif %}")

    def __iter__(self) -> Iterator[_Compiled]:
        return iter(self._rules)

    def rule(self, **variables: object) -> _Compiled | None:
        index = self._chain.render(variables)
        return self._rules[int(index)] if index else None

    def all(self, **variables: object) -> list[_Compiled]:
        """Every rule that holds, not the first only."""
        return [rule for rule in self if self.holds(rule.rule, variables)]

    def holds(self, rule: Rule, variables: Mapping[str, object]) -> bool:
        condition = rule.source.get("when", "true")
        if condition not in self._conditions:
            self._conditions[condition] = self._chain.environment.compile_expression(condition)
        return bool(self._conditions[condition](**variables))


def environment(search: BaseLoader) -> ImmutableSandboxedEnvironment:
    """Engines leave empty fields out, so a missing field is no error in it."""
    found = ImmutableSandboxedEnvironment(loader=search, undefined=_Missing)
    found.globals.update(FUNCTIONS)
    return found


def check_text(environment: ImmutableSandboxedEnvironment, at: str, text: str, known: Iterable[str]) -> None:
    try:
        names = meta.find_undeclared_variables(environment.parse(text)) - {*known, *FUNCTIONS}
    except TemplateError as error:
        raise ConfigError(f"{at}: {text!r}: {error.message}") from error
    if names:
        told = ", ".join([*known, *(f"{name}()" for name in FUNCTIONS)])
        raise ConfigError(f"{at}: {', '.join(sorted(names))} is not known; use {told}")


def check_expression(
    environment: ImmutableSandboxedEnvironment, at: str, text: str, known: Iterable[str]
) -> None:
    try:
        environment.compile_expression(text)
    except TemplateError as error:
        raise ConfigError(f"{at}: {text!r}: {error.message}") from error
    check_text(environment, at, "{{ " + text + " }}", known)


class Rules:
    """The compiled state.yaml of one engine. Raises ConfigError naming file and rule."""

    def __init__(self, engine: str, search: BaseLoader) -> None:
        self._environment = environment(search)
        self.name = f"{engine}/state.yaml"
        written = statefile.read(search, self.name)
        at = f"templates/{self.name}"
        self._names = tuple(written.values)
        self._values = self._named(at, written.values)
        known = ("native", *self._names)
        self._at = at
        self._written = written
        self._fields = self._answered()
        self._states = _Decision(self._environment, f"{at}: rules", written.rules, known)
        self.tell_overdue = any(rule.source.get("overdue") for rule in written.rules)
        """Whether a rule calls jobs overdue."""

        self._refusals = _Decision(self._environment, f"{at}: refusals", written.refusals, ("native",))
        self._checks = _Decision(self._environment, f"{at}: checks", written.checks)

    def check_complete(self) -> None:
        """Raises ConfigError where a state may have no rule: such a job would never end for the platform."""
        last = self._written.rules[-1] if self._written.rules else None
        if last is None or last.source.get("when", "true") != "true":
            told = "a state may have no rule: let the last one have no `when`, or extend the shipped ones"
            file, line = (last.file, last.line) if last else (f"templates/{self.name}", 0)
            raise ConfigError.of([Fault(self.name, told, file, line)])

    def _named(self, at: str, values: Mapping[str, str]) -> Template:
        """All values as one template that sets them: a third of the time that one expression each takes."""
        for index, (name, text) in enumerate(values.items()):
            before = ("native", *list(values)[:index])
            check_expression(self._environment, f"{at}: values: {name}", text, before)
        return self._environment.from_string(
            "".join("{% set " + name + " = (" + text + ") %}" for name, text in values.items())
        )

    def _answered(self) -> TemplateExpression:
        chosen = {name: text for name, text in self._written.fields.items() if name in ANSWERED}
        return self._expression(self._at, chosen, ("native", *self._names))

    def written(self, section: Section) -> Mapping[str, str]:
        """The expressions of a section, by the names of what they make."""
        found: Mapping[str, str] = getattr(self._written, section)
        return found

    def only(self, section: Section, *names: str) -> Rules:
        """The same rules with these expressions alone in their sections: to tell whether it is those."""
        found = copy(self)
        one = {name: self.written(section)[name] for name in names}
        found._written = replace(
            self._written,
            fields=one if section == "fields" else {},
            applied=one if section == "applied" else {},
        )
        found._fields = found._answered()
        return found

    def _expression(
        self, at: str, fields: Mapping[str, str], known: Iterable[str], section: str = "fields"
    ) -> TemplateExpression:
        """All fields at once, as a dict: a third of the time that one expression each takes."""
        for text in fields.values():
            check_expression(self._environment, f"{at}: {section}", text, known)
        pairs = ", ".join(f"{name!r}: ({text})" for name, text in fields.items())
        return self._environment.compile_expression("{" + pairs + "}", undefined_to_none=False)

    def read(self, jid: str, native: NativeState) -> JobInfo:
        """What pman answers for a job in this state. Raises EngineUnreachable where a rule says so."""
        try:
            return self._info(jid, native)
        except FAILURES as error:
            raise ConfigError(
                f"templates/{self.name}: a rule fails for the state of {jid}: {error}"
            ) from error

    def tried(self, native: NativeState) -> Iterator[tuple[Rule, bool]]:
        """The rules of a state in order, and whether each holds; the first that does decides.

        One expression each, so slower than `read`. Raises ConfigError, naming the place, for one that fails.
        """
        variables = {"native": native, **self.values(native)}
        for compiled in self._states:
            rule = compiled.rule
            try:
                holds = self._states.holds(rule, variables)
            except FAILURES as error:
                told = f"templates/{self.name}: the rule fails for this state: {error}"
                raise ConfigError.of([Fault(self.name, told, rule.file, rule.line)]) from error
            yield rule, holds

    def reader(
        self, section: Section, more: Iterable[str]
    ) -> Callable[[NativeState, Mapping[str, object]], Mapping[str, Any]]:
        """What a section's expressions make of a state and of `more` variables; those of ANSWERED left out.

        Raises ConfigError, now for what cannot be compiled, then for what fails for a state.
        """
        chosen = {name: text for name, text in self.written(section).items() if name not in ANSWERED}
        known = ("native", *self._names, *more)
        compiled = self._expression(self._at, chosen, known, section)

        def read(native: NativeState, variables: Mapping[str, object]) -> Mapping[str, Any]:
            try:
                return compiled(**self._variables(native), **variables) or {}
            except FAILURES as error:
                raise ConfigError(
                    f"templates/{self.name}: one of its {section} fails for this state: {error}"
                ) from error

        return read

    def values(self, native: NativeState) -> Mapping[str, Any]:
        """What the named `values` are for a state. Raises ConfigError for one that fails."""
        try:
            return {name: value for name, value in self._variables(native).items() if name != "native"}
        except FAILURES as error:
            raise ConfigError(f"templates/{self.name}: a value fails for this state: {error}") from error

    def _variables(self, native: NativeState) -> Mapping[str, Any]:
        if not self._names:
            return {"native": native}
        module = self._values.make_module({"native": native})
        return {"native": native, **{name: getattr(module, name) for name in self._names}}

    def _info(self, jid: str, native: NativeState) -> JobInfo:
        variables = self._variables(native)
        rule = self._states.rule(**variables)
        if rule is None:  # not undefined: the platform would cancel a job that may be doing well
            status, message, hint = "started", f"templates/{self.name} has no rule for this state", ""
        else:
            status = rule.source["status"]
            message, hint = rule.message.render(variables), rule.hint.render(variables)
        if status == "unavailable":
            raise EngineUnreachable(message, hint)
        fields = self._fields(**variables) or {}
        timestamp = str(fields.get("timestamp") or "")
        return JobInfo(
            jid=jid,
            image=str(fields.get("image") or ""),
            cmd=shlex.join(fields.get("argv") or ()),
            status=cast(JobStatus, status),
            message=message,
            hint=hint,
            timestamp="" if timestamp.startswith("0001-") else timestamp,  # Go's zero time
            exit_code=_exit_code(fields.get("exit_code")),
            digest=str(fields.get("digest") or ""),
            overdue=rule is not None and rule.source.get("overdue", False),
        )

    def refusal(self, refused: EngineRefused) -> Refused:
        """The engine's words with pman's explanation, and the HTTP status that fits."""
        native = refused.native
        rule = self._refusals.rule(native=native)
        if rule is None:
            return Refused(str(native["message"]), "", 502)
        message = f"{rule.message.render(native=native)}: {native['message']}"
        return Refused(message, rule.hint.render(native=native), int(rule.source["answer"]))

    def check(self, native: NativeState, site: Mapping[str, object]) -> None:
        """Raises ConfigError with all that keeps this engine from honouring the configuration."""
        found = self._checks.all(native=native, site=site)
        if found:
            messages = [rule.message.render(native=native, site=site) for rule in found]
            hints = [rule.hint.render(native=native, site=site) for rule in found]
            raise ConfigError("; ".join(messages), "; ".join(filter(None, hints)))
