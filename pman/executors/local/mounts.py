"""A job's own view of the files of this machine: Linux 5.12, as root or where users may have namespaces."""

from __future__ import annotations

import ctypes
import errno
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

_libc = ctypes.CDLL(None, use_errno=True)

# <sched.h>, <sys/mount.h>, <linux/mount.h>; newer system calls have the same number on every processor.
_NEWNS, _NEWUSER = 0x20000, 0x10000000
_BIND, _MOVE, _REC, _UNBINDABLE, _PRIVATE = 4096, 8192, 16384, 1 << 17, 1 << 18
_SYS_MOUNT_SETATTR, _AT_FDCWD, _AT_RECURSIVE = 442, -100, 0x8000
_ATTR_RDONLY, _ATTR_NOSUID, _ATTR_NODEV = 1, 2, 4
_SYS_OPENAT2, _RESOLVE_NO_SYMLINKS, _RESOLVE_BENEATH = 437, 4, 8  # <linux/openat2.h>


def enter(mounts: Sequence[Mapping[str, Any]], root: Path) -> None:
    """This process, and what it starts, see the machine's files and these mounts besides.

    The new root is a tmpfs with a bind mount of every entry of the old one, so nothing is left on
    the machine, and the kernel tidies up after the last process. `root` is an empty directory.
    Without root's rights it takes a user namespace, in which everybody keeps their own number.
    """
    here = Path.cwd()
    inode = here.stat().st_ino
    uid, gid = os.geteuid(), os.getegid()
    call("unshare", _NEWNS | (_NEWUSER if uid else 0))
    if uid:
        Path("/proc/self/setgroups").write_text("deny")
        Path("/proc/self/uid_map").write_text(f"{uid} {uid} 1")
        Path("/proc/self/gid_map").write_text(f"{gid} {gid} 1")
    _mount("none", "/", "", _REC | _PRIVATE)
    _mount("tmpfs", root, "tmpfs", 0, "mode=755")
    _mount("none", root, "", _UNBINDABLE)  # or it would be found again inside itself
    own = {Path(mount["target"]).parts[1] for mount in mounts if not Path(mount["target"]).is_dir()}
    for entry in Path("/").iterdir():
        if entry.name not in own:
            _bind(entry, root / entry.name)
    for mount in mounts:
        target = root / str(mount["target"]).lstrip("/")
        target.mkdir(parents=True, exist_ok=True)
        if "subpath" in mount:
            _mount_below(mount["source"], mount["subpath"], target)
        else:
            _mount(mount["source"], target, "", _BIND | _REC)
        attributes = _ATTR_NOSUID | _ATTR_NODEV | (_ATTR_RDONLY if mount["read_only"] else 0)
        how = (ctypes.c_uint64 * 4)(attributes)
        call("syscall", _SYS_MOUNT_SETATTR, _AT_FDCWD, os.fsencode(target), _AT_RECURSIVE, how, 32)
    os.chdir(root)
    _mount(".", "/", "", _MOVE)
    os.chroot(".")
    os.chdir(here)
    if Path.cwd().stat().st_ino != inode:
        raise FileNotFoundError(f"{here} was removed")


def _bind(entry: Path, target: Path) -> None:
    if entry.is_symlink():
        target.symlink_to(entry.readlink())
        return
    if entry.is_dir():
        target.mkdir()
    else:
        target.touch()
    _mount(entry, target, "", _BIND | _REC)


def _mount_below(source: str, subpath: str, target: Path) -> None:
    """Mount a directory below `source` by its descriptor: nothing that is exchanged meanwhile is followed."""
    root = os.open(source, os.O_PATH | os.O_DIRECTORY)
    how = (ctypes.c_uint64 * 3)(os.O_PATH | os.O_DIRECTORY, 0, _RESOLVE_BENEATH | _RESOLVE_NO_SYMLINKS)
    try:
        directory = call("syscall", _SYS_OPENAT2, root, os.fsencode(subpath), how, ctypes.sizeof(how))
    except OSError as error:
        why = "a symbolic link is on the way" if error.errno == errno.ELOOP else error.strerror
        raise OSError(error.errno, f"{source}/{subpath} could not be mounted: {why}") from error
    finally:
        os.close(root)
    _mount(f"/proc/self/fd/{directory}", target, "", _BIND | _REC)
    os.close(directory)


def _mount(source: str | Path, target: str | Path, kind: str, flags: int, data: str = "") -> None:
    words = (os.fsencode(word) for word in (source, target, kind))
    try:
        call("mount", *words, ctypes.c_ulong(flags), data.encode())
    except OSError as error:
        raise OSError(error.errno, f"{source} could not be mounted: {error.strerror}") from error


def call(name: str, *arguments: object) -> int:
    """Return the answer of a function of the C library. Raises OSError."""
    widened = [ctypes.c_long(value) if isinstance(value, int) else value for value in arguments]
    answer: int = getattr(_libc, name)(*widened)
    if answer < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), name)
    return answer


def probe(directory: str) -> None:
    """Raises OSError where this machine does not let jobs have mounts of their own."""
    os.chdir(directory)
    root = Path("root").absolute()
    root.mkdir()
    Path("input").mkdir()
    enter([{"source": directory, "subpath": "input", "target": "/share/incoming", "read_only": True}], root)
