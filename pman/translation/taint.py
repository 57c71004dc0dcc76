"""Taint tracking: a dry run renders the true values of the environment, and knows what came of them.

A tainted value is itself to a template, and carries what is shown in its place. Whatever a template makes
of it is made twice, of the value and of what is shown, and is tainted where the two differ. So a template
decides by the true values, as for a submission, and what is shown depends on them only where the template
decided by them. What cannot be carried along (bytes, say) is refused: such a dry run shows nothing.
"""

from __future__ import annotations

from collections.abc import Callable, ItemsView, Iterator, KeysView, Mapping, MappingView, Sequence
from dataclasses import dataclass
from functools import partial, update_wrapper
from itertools import chain, repeat
from typing import Any, Final

from jinja2 import BaseLoader, Undefined
from jinja2.environment import TemplateModule
from jinja2.exceptions import TemplateRuntimeError
from jinja2.runtime import Context, LoopContext
from jinja2.sandbox import safe_range
from jinja2.utils import Namespace
from markupsafe import Markup

from pman.settings import MASK
from pman.translation.environment import Escaping
from pman.translation.languages.marks import MARK, SHOWN, sent, shown, without_marks
from pman.translation.languages.wdl import Words
from pman.translation.rules import FAILURES
from pman.translation.sourcemap import Notes

UNSHOWN = "fails at a value of env, which is not shown here"

_CHOOSING_ONE = {"d", "default", "first", "last", "max", "min", "random"}
_CHOOSING_SOME = {"reject", "rejectattr", "select", "selectattr", "unique"}
_ARRANGING = {"batch", "dictsort", "groupby", "items", "list", "map", "reverse", "slice", "sort"}
_CHOOSING = _CHOOSING_ONE | _CHOOSING_SOME | _ARRANGING
"""Filters that hand on the values they were given, and make none."""

_Call = Callable[..., Any]


class Tainted:
    """A value that is not to be shown. What writes it into a message gets what is shown instead."""

    shown: Any

    def __repr__(self) -> str:
        return repr(self.shown)

    def __str__(self) -> str:
        return str(self.shown)

    def __format__(self, spec: str) -> str:
        return format(self.shown, spec)


class _Text(Tainted, str):
    def __iter__(self) -> Iterator[Any]:
        return (self[index] for index in range(len(self)))

    def __getitem__(self, index: Any) -> Any:
        return _both(str.__getitem__, self, index)


class _Integer(Tainted, int):
    pass


class _Real(Tainted, float):
    pass


for _kind, _name in ((_Text, "str"), (_Integer, "int"), (_Real, "float")):
    _kind.__name__ = _name  # a TypeError says it

_KINDS: Mapping[type, tuple[_Call, Any]] = {str: (_Text, MASK), int: (_Integer, 0), float: (_Real, 0.0)}
"""How a value of a type is tainted, and what is shown where nothing can be made of what is shown."""

_PLAIN: Mapping[type, _Call] = {_Text: str.__str__, _Integer: int.__int__, _Real: float.__float__}

_NOTHING: Final = object()
"""Stands for what cannot be made of what is shown."""


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class _Function:
    """A method of a tainted value, and that of what is shown."""

    true: _Call
    shown: _Call


class _Items(list[Any]):
    """Holds what an iterator yielded, which can be asked only once."""


def variable(item: str) -> Any:
    """A variable `NAME=value`, of which a dry run shows `NAME=********`."""
    return _tainted(item, f"{item.partition('=')[0]}={MASK}")


def _tainted(value: Any, shown: Any) -> Any:
    kind, mask = _KINDS[type(value)]
    tainted = kind(value)
    tainted.shown = shown if type(shown) is type(value) else mask
    return tainted


def is_tainted(value: object) -> bool:
    """Says whether a value, or something in it, is not to be shown."""
    if type(value) is str:  # as most are; with marks only where a template turns escaping off
        return MARK + SHOWN in value
    if isinstance(value, Markup | TemplateModule):
        return MARK + SHOWN in str(value)
    if isinstance(value, Mapping) and not isinstance(value, Context):
        return any(is_tainted(key) or is_tainted(item) for key, item in value.items())
    if isinstance(value, list | tuple | MappingView):
        return any(map(is_tainted, value))  # type: ignore[arg-type]  # every view can be iterated
    if isinstance(value, Namespace | Words):
        return is_tainted(_held(value))
    return isinstance(value, Tainted | _Function)


def _true(value: Any) -> Any:
    """A value as it is submitted."""
    if isinstance(value, Tainted):
        return _PLAIN[type(value)](value)
    if isinstance(value, _Function):
        return value.true
    return Markup(sent(value)) if isinstance(value, Markup) else sent(str(value))  # noqa: S704  (it was)


def _shown(value: Any) -> Any:
    if isinstance(value, Tainted | _Function):
        return value.shown
    return Markup(shown(value)) if isinstance(value, Markup) else shown(str(value))  # noqa: S704  (it was)


def _deep(leaf: _Call, value: Any) -> Any:
    """Copies a value with every tainted leaf replaced."""
    if isinstance(value, _Items):
        return (item for item in [_deep(leaf, item) for item in value])
    if not is_tainted(value):
        return value
    if isinstance(value, Mapping):
        return {_deep(leaf, key): _deep(leaf, item) for key, item in value.items()}
    if isinstance(value, list | tuple | MappingView):
        return _rebuilt(value, [_deep(leaf, item) for item in value])  # type: ignore[union-attr]  # all can
    if isinstance(value, Namespace | Words):
        return type(value)(_deep(leaf, _held(value)))
    return leaf(value)


def _rebuilt(value: Any, items: Sequence[Any]) -> Any:
    """The items in what is of the same kind as a value."""
    match value:
        case tuple():
            return tuple(items)
        case ItemsView():
            return dict(items).items()
        case KeysView():
            return dict.fromkeys(items).keys()
        case MappingView():
            return dict(enumerate(items)).values()
    return items


def _held(value: Namespace | Words) -> Any:
    return value.value if isinstance(value, Words) else value._Namespace__attrs


def _listed(value: Any) -> Any:
    return _Items(value) if isinstance(value, Iterator) and not isinstance(value, LoopContext) else value


def _called_by(way: _Call, function: _Call) -> _Call:
    """Makes a filter's or test's function that is called by `way`, and gets the same from Jinja."""
    return update_wrapper(partial(way, function), function)


def _both(function: _Call, /, *args: Any, **options: Any) -> Any:
    """Applies a function to values and to what is shown of them, and pairs what it makes."""
    return _twice(function, function, args, options)


def _chosen(function: _Call, /, *args: Any, **options: Any) -> Any:
    """Applies a filter that chooses among values; of one value that is tainted, what it chooses is new."""
    direct = any(isinstance(value, Tainted) for value in (*args, *options.values()))
    return _both(function, *args, **options) if direct else function(*args, **options)


def _decided(test: _Call, /, *args: Any, **options: Any) -> Any:
    """Applies a test to the true values: a template decides by them. It leaves an iterator to who asks."""
    try:
        return _applied(test, _true, args, options)()
    except FAILURES as error:
        raise _said(error, _applied(test, _shown, args, options)) from None


def _twice(function: _Call, twin: _Call, args: Sequence[Any], options: Mapping[str, Any]) -> Any:
    args = [_listed(value) for value in args]
    options = {name: _listed(value) for name, value in options.items()}
    true = _applied(function, _true, args, options)
    if function is twin and not is_tainted(args) and not is_tainted(options):
        return true()
    instead = _applied(twin, _shown, args, options)
    try:
        result = _listed(true())
    except FAILURES as error:
        raise _said(error, instead) from None
    try:
        twin_result = _listed(instead())
    except Exception:  # what is shown may be anything, e.g. too short: Jinja's truncate asserts a length
        twin_result = _NOTHING
    return _paired(result, twin_result)


def _applied(function: _Call, leaf: _Call, args: Sequence[Any], options: Mapping[str, Any]) -> _Call:
    return partial(
        function,
        *(_deep(leaf, value) for value in args),
        **{name: _deep(leaf, value) for name, value in options.items()},
    )


def _said(error: Exception, instead: _Call) -> Exception:
    """Finds the error that what is shown meets; the message of the true one may hold a value."""
    try:
        instead()
    except Exception as same:
        if type(same) is type(error):
            return same
    return TemplateRuntimeError(UNSHOWN)


def _paired(true: Any, shown: Any) -> Any:
    """A value, tainted where it is not what is shown. Raises TemplateRuntimeError where it cannot be."""
    if isinstance(true, Undefined):
        return shown if isinstance(shown, Undefined) else type(true)(UNSHOWN)
    if isinstance(true, list | tuple | dict):
        return _paired_items(true, shown)
    if true is None or isinstance(true, bool) or (type(true) is type(shown) and true == shown):
        return true
    if type(true) in _KINDS:
        return _tainted(true, shown)
    if callable(true) and callable(shown):
        return _Function(true, shown)
    kind = type(true).__name__
    raise TemplateRuntimeError(f"a dry run cannot show what this makes of a value of env ({kind})")


def _paired_items(true: Any, shown: Any) -> Any:
    if isinstance(true, dict):
        return dict(_paired_items(list(true.items()), list(shown.items()) if isinstance(shown, dict) else []))
    others = chain(shown if isinstance(shown, list | tuple) else (), repeat(_NOTHING))
    items = [_paired(item, other) for item, other in zip(true, others, strict=False)]
    return (item for item in items) if isinstance(true, _Items) else _rebuilt(true, items)


class TaintTracking(Escaping):
    """Escapes as Escaping does, values that may be tainted; slower."""

    intercepted_binops = frozenset(Escaping.default_binop_table)
    intercepted_unops = frozenset(Escaping.default_unop_table)
    joined = staticmethod(partial(_both, Escaping.joined))

    def __init__(self, loader: BaseLoader, language: str, notes: Notes | None = None) -> None:
        super().__init__(loader, language, notes)
        tests: Mapping[str, Any] = self.tests
        self.tests = {name: _called_by(_decided, test) for name, test in tests.items()}

    @staticmethod
    def sliced(value: Any, *bounds: Any) -> Any:
        if isinstance(value, list | tuple) and not any(isinstance(bound, Tainted) for bound in bounds):
            return Escaping.sliced(value, *bounds)  # hands on what they hold
        return _both(Escaping.sliced, value, *bounds)

    def text(self, value: Any) -> Any:
        if not isinstance(value, Markup) or not is_tainted(value):
            return super().text(value)
        return _paired(without_marks(sent(value)), without_marks(shown(value)))

    def marked(self, value: object) -> str:
        literal = _both(self.literal, value)
        if not isinstance(literal, Tainted):
            return f"{MARK}{literal}{MARK}"
        return f"{MARK}{_true(literal)}{MARK}{MARK}{SHOWN}{literal.shown}{MARK}"

    def filtered(self, name: str, function: _Call) -> _Call:
        if name in _CHOOSING:
            return _called_by(_chosen, function)
        return _called_by(_both, self._on_text(function))

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        left, right, compute = self.text(left), self.text(right), self.binop_table[operator]
        if isinstance(left, str | Tainted) or isinstance(right, Tainted):
            return _both(compute, left, right)
        return compute(left, right)  # two lists hand on what they hold

    def call_unop(self, context: Context, operator: str, arg: Any) -> Any:
        return _both(self.unop_table[operator], arg)

    def getitem(self, obj: Any, argument: Any) -> Any:
        obj, get = self.text(obj), super().getitem
        if isinstance(obj, Tainted) or is_tainted(argument):
            return _both(get, obj, argument)
        return get(obj, argument)

    def getattr(self, obj: Any, attribute: str) -> Any:
        obj, get = self.text(obj), super().getattr
        return _both(get, obj, attribute) if isinstance(obj, Tainted) else get(obj, attribute)

    def call(__self, __context: Context, __obj: Any, *args: Any, **options: Any) -> Any:  # noqa: N805  (Jinja's)
        call = partial(super().call, __context)
        if not isinstance(__obj, _Function) and not _computes(__obj):
            return call(__obj, *args, **options)
        for name in ("_loop_vars", "_block_vars"):
            options.pop(name, None)  # for functions that are given the context
        true, twin = (__obj.true, __obj.shown) if isinstance(__obj, _Function) else (__obj, __obj)
        return _twice(partial(call, true), partial(call, twin), args, options)


def _computes(function: Any) -> bool:
    """Tells functions that make new values, and do nothing else: methods of a text or number, and range."""
    method = getattr(function, "__wrapped__", function)  # Jinja wraps str.format
    return function is safe_range or isinstance(getattr(method, "__self__", None), str | int | float)
