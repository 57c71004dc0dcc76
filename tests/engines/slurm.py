"""A SLURM for the tests: by slurmrestd with Podman on its nodes, and by its programs with bubblewrap.

SLURMRESTD_URL and SLURM_JWT lead to the one, SLURM_CONF to the other. PMAN_TEST_PODMAN is the command that runs
podman on the nodes, PMAN_TEST_ROOTFS a directory with `busybox` and `plugin`, the root file systems of the two
images of the tests.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path

import requests

_BWRAP = """
{%% extends "builtin/slurm/job.sh.j2" %%}
{%% block none %%}
run() {
  more
  alone
  root=%(rootfs)s/{%% if job.image == %(plugin)r %%}plugin{%% elif job.image == %(image)r %%}busybox{%% endif %%}

  set -- "$(command -v bwrap)" --unshare-all --die-with-parent --hostname "$(hostname)-$BASHPID" \\
    --ro-bind "$root" / --dev /dev --proc /proc --tmpfs /tmp --chdir / \\
    --ro-bind {{ incoming }} /share/incoming --bind {{ outgoing }} /share/outgoing "${options[@]}"
  [ -x "$root/bin/sh" ] || { echo "bubblewrap: no root file system for" {{ job.image }}; exit 125; }
  export PATH=/usr/local/bin:/usr/bin:/bin
{%% for item in job.env %%}
  export {{ item }}
{%% endfor %%}
  exec "$@" -- {{ job.argv }}
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
    "environment": {"PATH": "%s:/usr/local/bin:/usr/bin:/bin"},
{%% endblock %%}
"""


def headers() -> dict[str, str]:
    user = (
        os.environ.get("SLURM_USER") or subprocess.run(["id", "-un"], capture_output=True, text=True).stdout
    )
    return {"X-SLURM-USER-NAME": user.strip(), "X-SLURM-USER-TOKEN": os.environ.get("SLURM_JWT", "")}


def _without_rest() -> str:
    address = os.environ["SLURMRESTD_URL"]
    try:
        answer = requests.get(f"{address}/openapi", headers=headers(), timeout=20)
    except requests.RequestException as error:
        return str(error)
    if answer.status_code != 200:
        return f"slurmrestd answers {answer.status_code}"
    podman = os.environ.get("PMAN_TEST_PODMAN", "podman").split()[0]
    return "" if shutil.which(podman) else f"{podman} (PMAN_TEST_PODMAN) is not there"


def _without_cli() -> str:
    for program in ("sbatch", "squeue", "scontrol", "scancel", "bwrap"):
        if not shutil.which(program):
            return f"{program} is not there"
    rootfs = os.environ.get("PMAN_TEST_ROOTFS")
    if not rootfs or not Path(rootfs, "busybox").is_dir():
        return "PMAN_TEST_ROOTFS names no directory with root file systems"
    done = subprocess.run(["scontrol", "ping"], capture_output=True, text=True, timeout=60, check=False)
    return "" if "UP" in done.stdout else done.stdout + done.stderr


WITHOUT: Mapping[str, Callable[[], str]] = {"slurm": _without_rest, "slurm-cli": _without_cli}
"""By way: why it does not lead there, '' where it does."""


@cache
def environment(name: str, image: str, plugin: str) -> Mapping[str, str]:
    """What pman is to be told."""
    site = Path(tempfile.mkdtemp(prefix="pman-test-slurm-"))
    site.chmod(0o755)
    (site / "slurm").mkdir()
    templates = {"PMAN_TEMPLATES": str(site)}
    if name == "slurm-cli":
        values = {"rootfs": os.environ["PMAN_TEST_ROOTFS"], "plugin": plugin, "image": image}
        (site / "slurm/job.sh.j2").write_text(_BWRAP % values)
        (site / "slurm/job.json.j2").write_text(_RUNTIME)
        return {
            **templates,
            "SLURM_MODE": "cli",
            "SLURM_CONF": os.environ["SLURM_CONF"],
            "SLURM_RUNTIME": "none",
        }
    podman = site / "podman"
    podman.write_text(f'#!/bin/sh\nexec {os.environ.get("PMAN_TEST_PODMAN", "/usr/bin/podman")} "$@"\n')
    podman.chmod(0o755)
    (site / "slurm/job.json.j2").write_text(_PATH % site)
    address = {
        key: os.environ[key] for key in ("SLURMRESTD_URL", "SLURM_JWT", "SLURM_USER") if key in os.environ
    }
    return {**templates, **address, "SLURM_RUNTIME": "podman"}
