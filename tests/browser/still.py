"""`still.py PROGRAM ARGUMENT...` runs a program that the kernel does not tell of changes of the network.

Each container that begins or ends is such a change, for which Chromium breaks off all its requests
(ERR_NETWORK_CHANGED), those to this machine too. Without netlink it takes the network for what it was.
"""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import struct
import sys

AF_NETLINK = 16
SOCKET = {"x86_64": 41, "aarch64": 198}
"""The number of the system call socket(2)."""

NR_OF_SECCOMP_DATA, FIRST_ARGUMENT = 0, 16
LOAD, EQUAL, RETURN = 0x20, 0x15, 0x06  # BPF_LD|BPF_W|BPF_ABS, BPF_JMP|BPF_JEQ|BPF_K, BPF_RET|BPF_K
ALLOW, ERROR = 0x7FFF0000, 0x00050000
PR_SET_NO_NEW_PRIVS, PR_SET_SECCOMP, SECCOMP_MODE_FILTER = 38, 22, 2


def refuse_netlink() -> None:
    """By a filter of system calls (seccomp(2)), which all children have too."""
    number = SOCKET.get(platform.machine())
    if number is None:
        return
    program = [
        (LOAD, 0, 0, NR_OF_SECCOMP_DATA),
        (EQUAL, 0, 3, number),
        (LOAD, 0, 0, FIRST_ARGUMENT),
        (EQUAL, 0, 1, AF_NETLINK),
        (RETURN, 0, 0, ERROR | errno.EAFNOSUPPORT),
        (RETURN, 0, 0, ALLOW),
    ]
    code = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *line) for line in program))
    described = ctypes.create_string_buffer(struct.pack("HxxxxxxP", len(program), ctypes.addressof(code)))
    libc = ctypes.CDLL(None, use_errno=True)
    for call in ((PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), (PR_SET_SECCOMP, SECCOMP_MODE_FILTER, described, 0, 0)):
        if libc.prctl(*call):
            raise OSError(ctypes.get_errno(), "prctl")


if __name__ == "__main__":
    refuse_netlink()
    os.execv(sys.argv[1], sys.argv[1:])  # noqa: S606  (in place of this program)
