"""Native state -> what API v2 answers beyond v1, by further fields of state.yaml, where somebody asks."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any, TypeVar

import yaml

from pman.errors import ConfigError
from pman.job import Document, JobDetails, JobInfo
from pman.settings import MASK
from pman.translation.functions import moment
from pman.translation.masking import Masking
from pman.translation.rules import FAILURES, NativeState, Rules

T = TypeVar("T")

INTEGERS = ("cpu_limit", "memory_limit", "gpu_limit", "number_of_workers")
DIRECTORIES = ("input_dir", "output_dir")


class FieldReader:
    """Reads states by the `fields` and `applied` of one engine. Raises ConfigError naming the file."""

    def __init__(self, rules: Rules) -> None:
        self._file = f"templates/{rules.name}"
        self._fields = rules.reader("fields", ("site",))
        self._applied = rules.reader("applied", ("held",))

    def read(self, info: JobInfo, native: NativeState, site: Mapping[str, Any]) -> JobDetails:
        """Completes what the rules answered. `site`: what templates have by that name."""
        fields = self._fields(native, {"site": site})
        masking = Masking(fields.get("env"))
        env = masking.names

        def converted(name: str, convert: Callable[[object], T]) -> T:
            """Raises ConfigError where an expression makes something that its field cannot hold."""
            try:
                return convert(fields.get(name))
            except FAILURES as error:
                message = masking.text(str(error))
                raise ConfigError(f"{self._file}: fields: {name} fails for this state: {message}") from error

        return JobDetails(
            info=replace(info, message=masking.text(info.message), hint=masking.text(info.hint)),
            created=converted("created", moment),
            started=converted("started", moment),
            finished=converted("finished", moment) if info.ended else None,
            labels=masking.masked(converted("labels", _labels)),
            env=env,
            request=_request(info, fields, env, f"{site['storebase']}/"),
        )

    def masking(self, native: NativeState, site: Mapping[str, Any]) -> Masking:
        """Makes what hides the values of this job's environment."""
        return Masking(self._fields(native, {"site": site}).get("env"))

    def applied(self, native: NativeState, held: Mapping[str, str], masking: Masking) -> Iterator[Document]:
        """Shows the documents as the engine holds them, masked; data without what is empty."""
        for name, value in self._applied(native, {"held": held}).items():
            document = json.loads(value) if isinstance(value, str) and name.endswith(".json") else value
            if isinstance(document, str):
                yield Document(name, masking.text(document), None)
            elif document:
                content = _without_empty(masking.masked(document))
                yield Document(name, _text(name, content), content)


def without_fields(info: JobInfo) -> JobDetails:
    """Answers for a job whose fields cannot be read: the request is left open."""
    return JobDetails(info=info, request=_request(info, {}, (), ""))


def _request(info: JobInfo, fields: Mapping[str, Any], env: tuple[str, ...], root: str) -> Mapping[str, Any]:
    def field(name: str) -> Any:
        return fields.get(name) or None

    return {
        "jid": info.jid,
        "image": info.image or None,
        "entrypoint": _list(fields.get("entrypoint")),
        "args": _list(fields.get("args")),
        "env": [f"{name}={MASK}" for name in env],
        "auid": field("auid"),
        **{name: _integer(fields.get(name)) for name in INTEGERS},
        **{name: str(path).removeprefix(root) if (path := field(name)) else None for name in DIRECTORIES},
    }


def _list(value: object) -> list[str] | None:
    return [str(item) for item in value] if isinstance(value, list | tuple) else None


def _integer(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _labels(value: Any) -> dict[str, str]:
    return {str(name): str(text) for name, text in dict(value or {}).items()}


def _without_empty(value: Any) -> Any:
    """Leaves out what says nothing, which is most of what some engines answer."""
    if isinstance(value, Mapping):
        items = {name: _without_empty(item) for name, item in value.items()}
        return {name: item for name, item in items.items() if item not in (None, "", [], {})}
    return [_without_empty(item) for item in value] if isinstance(value, list | tuple) else value


def _text(name: str, content: object) -> str:
    if name.endswith(".json"):
        return json.dumps(content, indent=2, ensure_ascii=False) + "\n"
    return yaml.safe_dump(content, sort_keys=False, allow_unicode=True, width=110)
