"""The JSON body of a request -> Job, or every error at once."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from typing import Any, NoReturn

from jsonschema.protocols import Validator

from pman import schema
from pman.errors import BadRequest, Fault
from pman.job import INCOMING, OUTGOING, Job

REQUEST = schema.load("request.json")
PROPERTIES: Mapping[str, Mapping[str, Any]] = REQUEST["properties"]
MOST_VALUES = sum(declared.get("maxItems", 0) for declared in PROPERTIES.values()) + 1000
"""Values of a body that may be a request, with a thousand for fields that are not known here."""

_COMMA = re.compile(r'"(?:[^"\\]++|\\.)*+"|(,)', re.DOTALL)
"""Matches what stands between two values, and texts, so that it is not looked for in these."""

JID = re.compile(PROPERTIES["jid"]["pattern"].removesuffix("$"))
"""For fullmatch."""


class RequestParser:
    """Compiled once for an engine: the schema of a request and what the engine's own narrows of it."""

    def __init__(self, narrowing: Mapping[str, Any]) -> None:
        self._general: Validator = schema.validator(REQUEST)
        self._narrowing: Validator = schema.validator(narrowing)

    def parse(self, body: bytes | str) -> Job:
        """Raises BadRequest with every error of the body, each with its JSON path."""
        try:
            return self._parse(_load(body))
        except RecursionError as error:
            raise BadRequest("the body is not a request: nested too deeply") from error

    def _parse(self, data: object) -> Job:
        if not isinstance(data, dict):
            raise BadRequest.of([Fault("$", f"a JSON object is needed, not {_kind(data)}")])
        data = {key: _normalised(key, value) for key, value in data.items()}
        secrets = _values(data.get("env"))
        faults = [*_not_unicode(data), *schema.faults(self._general, data, secrets)]
        paths = {fault.path for fault in faults}
        narrower = schema.faults(self._narrowing, data, secrets)
        if faults := [*faults, *(fault for fault in narrower if fault.path not in paths)]:
            raise BadRequest.of(faults)
        return _job(data)


def _load(body: bytes | str) -> object:
    try:
        text = body.decode("utf-8") if isinstance(body, bytes) else body
        _check_number(text)
        return json.loads(text, parse_constant=_no_constant, object_pairs_hook=_once)
    except UnicodeDecodeError as error:
        raise BadRequest(f"the body is not UTF-8: {error.reason} at byte {error.start}") from error
    except json.JSONDecodeError as error:
        raise BadRequest(
            f"the body is not JSON: {error.msg} at line {error.lineno} column {error.colno}"
        ) from error
    except ValueError as error:
        raise BadRequest(f"the body is not JSON: {error}") from error


def _check_number(text: str) -> None:
    """Raises BadRequest for more values than a request can have, before there is an object for each."""
    if text.count(",") > MOST_VALUES:
        commas = (match for match in _COMMA.finditer(text) if match[1])
        if next(islice(commas, MOST_VALUES, None), None):
            raise BadRequest(f"the body is not a request: it has more than {MOST_VALUES} values")


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON number")


def _once(pairs: list[tuple[str, object]]) -> dict[str, object]:
    data = dict(pairs)
    if len(data) < len(pairs):
        double = [name for name, count in Counter(name for name, _ in pairs).items() if count > 1]
        raise ValueError(f"key {', '.join(map(repr, double[:10]))[:200]} is given more than once")
    return data


def _kind(data: object) -> str:
    names = {str: "a string", list: "an array", bool: "a boolean", type(None): "null"}
    return names.get(type(data), "a number")


def _normalised(key: str, value: object) -> object:
    """pfcon sends limits as numbers or as their digits, and may begin a jid with a slash.

    A directory becomes the one spelling of it that all who decide about it see.
    """
    if key == "jid" and isinstance(value, str):
        return value.lstrip("/")
    if key in ("input_dir", "output_dir") and isinstance(value, str) and not value.startswith("/"):
        return "/".join(part for part in value.split("/") if part not in ("", ".")) or value[:1]
    if PROPERTIES.get(key, {}).get("x-digits"):
        if isinstance(value, str) and re.fullmatch("[0-9]{1,18}", value):
            return int(value)
        if isinstance(value, float) and value.is_integer():
            return int(value)
    return value


def _not_unicode(data: Mapping[str, object]) -> list[Fault]:
    """Half a surrogate pair, which JSON can write and no engine can take."""
    faults = []
    for key in PROPERTIES.keys() & data.keys():
        value = data[key]
        items = enumerate(value) if isinstance(value, list) else [(None, value)]
        for index, item in items:
            if isinstance(item, str) and re.search("[\ud800-\udfff]", item):
                at = "" if index is None else f"[{index}]"
                faults.append(Fault(f"$.{key}{at}", "half a surrogate pair is no Unicode text"))
                if len(faults) >= schema.MAX_FAULTS:
                    return faults
    return faults


def _values(env: object) -> frozenset[str]:
    """The values of an environment, which must not show up in messages, whatever its shape."""
    return frozenset(filter(None, (text.partition("=")[2] or text for text in schema.texts(env))))


def _job(data: Mapping[str, Any]) -> Job:
    directories = (INCOMING, OUTGOING) if data["type"] == "ds" else (OUTGOING,)
    return Job(
        jid=data["jid"],
        image=data["image"],
        entrypoint=tuple(data["entrypoint"]),
        args=(*_with_paths(data["args"], data.get("args_path_flags") or ()), *directories),
        env=tuple(data.get("env") or ()),
        auid=data["auid"],
        type=data["type"],
        args_path_flags=tuple(data.get("args_path_flags") or ()),
        number_of_workers=data["number_of_workers"],
        cpu_limit=data["cpu_limit"],
        memory_limit=data["memory_limit"],
        gpu_limit=data["gpu_limit"],
        input_dir=data["input_dir"],
        output_dir=data["output_dir"],
    )


def _with_paths(args: Sequence[str], flags: Sequence[str]) -> Iterator[str]:
    """The value after each of the flags becomes /share/incoming; a flag at the very end gets one."""
    words, path_flags = iter(args), frozenset(flags)
    for word in words:
        yield word
        if word in path_flags:
            yield INCOMING
            next(words, None)
