"""What went wrong, told in one line: faults of the user's, of the disk, of a stage."""

import errno
import os


class UserError(Exception):
    """A fault in the input, the configuration or the surroundings that the user can fix.

    The command line prints the message without a traceback and exits with code 2. The message
    names the file, line or field, and says what to do.
    """


class StageError(Exception):
    """A stage failed in a way that is no fault of the user's. Names stage, input and log."""


def first_line(error: BaseException) -> str:
    """The first line of the message, at most 200 characters; the class if there is no message."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]


ADVICE = {
    errno.ENOSPC: "make room and run again",
    errno.EDQUOT: "make room, or get a larger quota, and run again",
    errno.EFBIG: "allow larger files (ulimit -f) and run again",
    errno.EROFS: "choose a folder that can be written",
    errno.EACCES: "correct the permissions, or choose another folder",
}


def disk_fault(error: BaseException) -> UserError | None:
    """What the disk refused, where that is behind an exception.

    Libraries wrap what the system says in exceptions of their own: its words are looked for.
    """
    for number, advice in ADVICE.items():
        words = os.strerror(number)
        if getattr(error, "errno", None) == number or words in str(error):
            file = getattr(error, "filename", None)
            where = f"{file}: " if file else ""
            return UserError(f"{where}{words}; {advice}")
    return None


def missing_package(error: ModuleNotFoundError) -> UserError | None:
    """Which package a command lacks and what installs it; None for a module of the project."""
    name = (error.name or "").partition(".")[0]
    if not name or name in {"brmrs", "tasks", "flows"}:
        return None
    return UserError(
        f"this command needs the Python package {name!r}, which is not installed; "
        "run pip install 'brmrs[pipeline]' (plain brmrs can only read finished runs and recommend)"
    )
