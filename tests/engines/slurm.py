"""A SLURM for the tests: by slurmrestd with Podman on its nodes, and by its programs with bubblewrap.

SLURMRESTD_URL and SLURM_JWT lead to the one, SLURM_CONF to the other. PMAN_TEST_PODMAN is the command that
runs podman on the nodes, PMAN_TEST_ROOTFS a directory with `busybox` and `plugin`, the root file systems of
the two images of the tests.
"""

from __future__ import annotations

import atexit
import getpass
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import requests

_BWRAP = """
{%% extends "builtin/slurm/job.sh.j2" %%}
{%% block none %%}
apart=yes
stop() { kill -KILL "$!"; }
run() {
  more
  set -- "${inside[@]}"
  alone
  root=%(rootfs)s/{{ {%(plugin)r: "plugin", %(image)r: "busybox"}.get(job.image, "none") }}
  set -- "$@" "$(command -v bwrap)" --unshare-all --die-with-parent --hostname "$(hostname)-$BASHPID" \\
    --ro-bind "$root" / --dev /dev --proc /proc --tmpfs /tmp --chdir / \\
    --ro-bind "$incoming" /share/incoming --bind "$outgoing" /share/outgoing "${options[@]}"
  [ -x "$root/bin/sh" ] || { echo "bubblewrap: no root file system for" {{ job.image }}; exit 125; }
  export PATH=/usr/local/bin:/usr/bin:/bin
{%% for item in job.env %%}
  export {{ item }}
{%% endfor %%}
  exec "$@" -- sh -c 'exec "$@"' sh {{ job.argv }}
}
{%% endblock %%}
"""
"""What a site writes for a container runtime that pman has no block for."""

_RUNTIME = """
{% extends "builtin/slurm/job.json.j2" %}
{% block runtime %}"bubblewrap"{% endblock %}
"""

_PATH = """
{%% extends "builtin/slurm/job.json.j2" %%}
{%% block environment %%}
    "environment": {"PATH": "%s:/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin"},
{%% endblock %%}
"""


_WITH_ROOTFS = """#!/bin/sh
PATH=${PATH#*:}
for word; do
  shift
  case $word in
    *%(image)s) word=%(rootfs)s ;;
    --write-fake) ch-run --help 2>&1 | grep -q write-fake || continue ;;
  esac
  set -- "$@" "$word"
done
exec %(program)s "$@"
"""
"""A program that is given a root file system in an image's place, since no registry has the image."""


def headers() -> dict[str, str]:
    user = os.environ.get("SLURM_USER") or getpass.getuser()
    return {"X-SLURM-USER-NAME": user.strip(), "X-SLURM-USER-TOKEN": os.environ.get("SLURM_JWT", "")}


def call(method: str, path: str, sent: object = None) -> dict[str, Any]:
    """Of slurmrestd, past pman."""
    base = f"{os.environ['SLURMRESTD_URL']}/slurm/v0.0.38"
    answer = requests.request(method, base + path, headers=headers(), json=sent, timeout=60)
    found: dict[str, Any] = answer.json()
    return found


def jobs() -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = call("GET", "/jobs")["jobs"]
    return found


def job(name: str) -> dict[str, Any]:
    """The newest of the name; SLURM forgets it some time after its end."""
    return [job for job in jobs() if job["name"] == name][-1]


def remembers() -> int:
    """Seconds for which SLURM remembers a job that has ended."""
    done = subprocess.run(["scontrol", "show", "config"], capture_output=True, text=True, check=True)
    return int(re.findall(r"^MinJobAge\s*= ([0-9]+) sec", done.stdout, re.MULTILINE)[0])


def partition() -> str:
    """One that takes jobs by default."""
    found = call("GET", "/partitions")["partitions"]
    return str(next(item["name"] for item in found if "default" in item["flags"]))


def _without_rest(address: str) -> str:
    try:
        answer = requests.get(f"{address}/openapi", headers=headers(), timeout=20)
    except requests.RequestException as error:
        return str(error)
    if answer.status_code != 200:
        return f"slurmrestd answers {answer.status_code}"
    podman = os.environ.get("PMAN_TEST_PODMAN", "podman").split()[0]
    return "" if shutil.which(podman) else f"{podman} (PMAN_TEST_PODMAN) is not there"


def _without_cli(_: str) -> str:
    for program in ("sbatch", "squeue", "scontrol", "scancel", "bwrap"):
        if not shutil.which(program):
            return f"{program} is not there"
    rootfs = os.environ.get("PMAN_TEST_ROOTFS")
    if not rootfs or not Path(rootfs, "busybox").is_dir():
        return "PMAN_TEST_ROOTFS names no directory with root file systems"
    done = subprocess.run(["scontrol", "ping"], capture_output=True, text=True, timeout=60, check=False)
    return "" if "UP" in done.stdout else done.stdout + done.stderr


WITHOUT: Mapping[str, Callable[[str], str]] = {"slurm": _without_rest, "slurm-cli": _without_cli}
"""By way: why it does not lead there, '' where it does."""


@cache
def environment(name: str, image: str, plugin: str) -> Mapping[str, str]:
    """What pman is to be told."""
    site = Path(tempfile.mkdtemp(prefix="pman-test-slurm-"))
    atexit.register(shutil.rmtree, site)
    site.chmod(0o755)
    (site / "slurm").mkdir()
    templates = {"PMAN_TEMPLATES": str(site)}
    if name == "slurm-cli":
        values = {"rootfs": os.environ["PMAN_TEST_ROOTFS"], "plugin": plugin, "image": image}
        (site / "slurm/job.sh.j2").write_text((_BWRAP % values).lstrip())
        (site / "slurm/job.json.j2").write_text(_RUNTIME.lstrip())
        return {
            **templates,
            "SLURM_MODE": "cli",
            "SLURM_CONF": os.environ["SLURM_CONF"],
            "SLURM_RUNTIME": "none",
        }
    podman = site / "podman"
    command = os.environ.get("PMAN_TEST_PODMAN", "podman")
    podman.write_text(f'#!/bin/sh\nPATH=$(echo "$PATH" | cut -d : -f 2-)\nexec {command} "$@"\n')
    podman.chmod(0o755)
    (site / "slurm/job.json.j2").write_text((_PATH % site).lstrip())
    address = {
        key: os.environ[key] for key in ("SLURMRESTD_URL", "SLURM_JWT", "SLURM_USER") if key in os.environ
    }
    return {**templates, **address, "SLURM_RUNTIME": "podman"}


def with_runtime(runtime: str, image: str, site: Path) -> Mapping[str, str]:
    """Settings for a pman whose jobs are run by SLURM_RUNTIME=runtime, with what is on this machine.

    Raises LookupError, which says what is not.
    """
    needed = {"apptainer": ["apptainer"], "charliecloud": ["ch-run"], "docker": ["docker"]}.get(runtime, [])
    if missing := [program for program in needed if not shutil.which(program)]:
        raise LookupError(f"{missing[0]} is not there")
    programs = {"podman": f'PATH=${{PATH#*:}}\nexec {os.environ.get("PMAN_TEST_PODMAN", "podman")} "$@"\n'}
    if runtime in ("apptainer", "charliecloud"):
        if not (rootfs := os.environ.get("PMAN_TEST_ROOTFS")):
            raise LookupError("PMAN_TEST_ROOTFS names no directory with root file systems")
        values = {"image": image, "rootfs": f"{rootfs}/busybox", "program": needed[0]}
        programs = {needed[0]: _WITH_ROOTFS % values, "ch-image": ""}
    (site / "slurm").mkdir(parents=True)
    (site / "slurm/job.json.j2").write_text((_PATH % site).lstrip())
    for name, text in programs.items():
        (site / name).write_text(f"#!/bin/sh\n{text}")
        (site / name).chmod(0o755)
    way = {"SLURM_MODE": "cli", "SLURM_CONF": os.environ["SLURM_CONF"]} if runtime in _BY_CLI else {}
    return {"PMAN_TEMPLATES": str(site), "SLURM_RUNTIME": runtime, **way}


@contextmanager
def podman_image(name: str, base: str, files: Path) -> Iterator[None]:
    """Let the Podman of the nodes have an image with these files, until the block ends."""
    podman = os.environ.get("PMAN_TEST_PODMAN", "podman").split()
    (files / "Dockerfile").write_text(f"FROM {base}\nCOPY . /\n")
    subprocess.run([*podman, "build", "--tag", name, str(files)], check=True)
    try:
        yield
    finally:
        subprocess.run([*podman, "rmi", name], check=True)


_BY_CLI = ("none", "docker", "charliecloud")
"""The other runtimes are tested by slurmrestd."""
