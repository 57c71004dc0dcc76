"""Reads jids and parameters from an address; each is refused by name where it is wrong."""

from __future__ import annotations

from quart import request

from pman.errors import BadRequest, UnknownJob
from pman.suggest import did_you_mean
from pman.translation.request import JID

_YES = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}


def valid_jid(jid: str) -> str:
    """Returns the jid, so that no other text reaches an address of the engine. Raises UnknownJob."""
    if not JID.fullmatch(jid):
        raise UnknownJob(jid)
    return jid


def only(*names: str) -> None:
    """Raises BadRequest for a parameter that would be ignored: `dryrun` would submit."""
    for name in request.args:
        if name not in names:
            raise BadRequest(f"?{name}: not known here; {did_you_mean(name, names, 'leave it out')}")


def flag(name: str) -> bool:
    text = request.args.get(name, "false").lower()
    if text not in _YES:
        raise BadRequest(f"{name}={text!r}: use true or false")
    return _YES[text]


def number(name: str, default: int) -> int:
    text = request.args.get(name, str(default))
    if not (text.isascii() and text.isdigit() and len(text) < 10):
        raise BadRequest(f"{name}={text!r}: use a whole number of lines, 0 or more")
    return int(text)
