"""Running code in another process that can be killed at any moment, for real."""

from __future__ import annotations

import os
import shutil
import signal
import sys
import time
import traceback
from collections.abc import Callable
from typing import Any

HOOKS = [
    (os, "fsync"),
    (os, "write"),
    (os, "pwrite"),
    (os, "rename"),
    (os, "ftruncate"),
    (os, "unlink"),
    (os, "mkdir"),
    (shutil, "rmtree"),
]


def start(work: Callable[[], Any]) -> int:
    """Run `work` in a child; its exit status is 0, or 77 with the traceback on stderr."""
    child = os.fork()
    if child:
        return child
    code = 77
    try:
        work()
        code = 0
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(code)


def end(child: int) -> int:
    """Wait for a child and return its exit status, negative for a signal."""
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def kill_after(child: int, seconds: float) -> int:
    """Kill a child that still runs after some time; return its exit status."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.002)
    os.kill(child, signal.SIGKILL)
    return end(child)


def die_at(step: int, *, before: bool) -> None:
    """Make this process kill itself at its n-th change of the file system from now on."""
    left = [step]

    def hooked(real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            left[0] -= 1
            if left[0] == 0 and before:
                os.kill(os.getpid(), signal.SIGKILL)
            result = real(*args, **kwargs)
            if left[0] == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            return result

        return call

    for module, name in HOOKS:
        setattr(module, name, hooked(getattr(module, name)))
