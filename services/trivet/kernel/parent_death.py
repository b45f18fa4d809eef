"""Child processes that die with their parent, even one that is killed.

`bound` prefixes a command so that this file, run as a script before anything of Trivet is imported, asks the kernel
for the signal and then becomes the command. Elsewhere than on Linux the command stays as it is: there a child has to
notice by itself, at the end of its stdin for example.
"""

import os
import signal
import sys

_PR_SET_PDEATHSIG = 1


def bound(*command: str) -> list[str]:
    """`command`, an absolute path and arguments, as a command whose process is killed when this process dies."""
    if sys.platform != "linux":
        return list(command)
    # -I and -S: nothing of the environment, no site-packages; the detour costs a few milliseconds.
    return [sys.executable, "-I", "-S", __file__, str(os.getpid()), *command]


def _become(parent: int, command: list[str]) -> None:
    import ctypes

    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it died before we asked
        os._exit(1)
    os.execv(command[0], command)  # noqa: S606 - the command is the caller's whole purpose


if __name__ == "__main__":
    _become(int(sys.argv[1]), sys.argv[2:])
