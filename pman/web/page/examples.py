"""Requests to begin with: of the examples of schema/request.json, each for something else to be looked at."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from pman import schema

_OPTIONS: Mapping[str, Any] = schema.load("request.json")["properties"]


def _request(**changes: Any) -> str:
    """The first example of each option, but for what plugins rarely ask for, and a token as of ChRIS."""
    usual = {"gpu_limit": 0, "args_path_flags": [], "env": ["CHRIS_USER_TOKEN=not-a-real-one"]}
    first = {name: declared["examples"][0] for name, declared in _OPTIONS.items()}
    return json.dumps({**first, **usual, **changes}, indent=2, ensure_ascii=False) + "\n"


def _last(option: str) -> Any:
    """Its most telling example."""
    return _OPTIONS[option]["examples"][-1]


EXAMPLES: Mapping[str, str] = {
    "a plugin": _request(),
    "a GPU": _request(gpu_limit=_last("gpu_limit"), cpu_limit=8000, memory_limit=16000),
    "several workers": _request(number_of_workers=_last("number_of_workers")),
    "what a shell would read": _request(args=_last("args"), env=_last("env")),
    "mistakes": _request(
        jid="Chris jid 42", memory_limit="300 MB", input_dir="../etc", entrypoint="simpledsapp",
    ),
}  # fmt: skip
"""Requests, named for what is to be seen in them."""
