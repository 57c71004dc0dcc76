"""Requests to begin with: realistic ones, each for something else that a site wants to look at."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

_PLUGIN: Mapping[str, Any] = {
    "jid": "chris-jid-42",
    "image": "docker.io/fnndsc/pl-simpledsapp:2.1.0",
    "entrypoint": ["simpledsapp"],
    "args": ["--prefix", "le-", "--sleepLength", "5"],
    "args_path_flags": [],
    "type": "ds",
    "env": ["CHRIS_USER_TOKEN=not-a-real-one"],
    "auid": "rudolph",
    "number_of_workers": 1,
    "cpu_limit": 1000,
    "memory_limit": 300,
    "gpu_limit": 0,
    "input_dir": "key-chris-jid-42/incoming",
    "output_dir": "key-chris-jid-42/outgoing",
}


def _request(**changes: Any) -> str:
    return json.dumps({**_PLUGIN, **changes}, indent=2) + "\n"


EXAMPLES: Mapping[str, str] = {
    "a plugin": _request(),
    "a GPU": _request(
        image="docker.io/fnndsc/pl-lungct:1.0.0", entrypoint=["lungct"], args=[], gpu_limit=1,
        cpu_limit=8000, memory_limit=16000,
    ),
    "four workers": _request(number_of_workers=4),
    "arguments that a shell would read": _request(
        args=["--note", "it's $HOME; `id` && \"quoted\"", "--", "*"],
    ),
    "mistakes": _request(
        jid="Chris jid 42", memory_limit="300 MB", input_dir="../etc", entrypoint="simpledsapp",
    ),
}  # fmt: skip
"""By what is to be seen in them."""
