"""Errors with a one-line message: user errors, operating-system errors, failed stages."""

import errno
import os
import re


class UserError(Exception):
    """A fault in the input, the configuration or the environment that the user can fix.

    The command line prints the message without a traceback and exits with code 2. The message names
    the file, line or field, and how to fix it.
    """


class StageError(Exception):
    """A stage failed for a reason that the user cannot fix. Names stage, input and log."""


def first_line(error: BaseException) -> str:
    """The first line of the message, at most 200 characters; the class if there is no message."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]


ADVICE = {
    errno.ENOSPC: "free space and run again",
    errno.EDQUOT: "free space, or get a larger quota, and run again",
    errno.EFBIG: "allow larger files (ulimit -f) and run again",
    errno.EROFS: "choose a folder that can be written",
    errno.EACCES: "correct the permissions, or choose another folder",
    errno.EPERM: "correct the permissions, or choose another folder",
    errno.ENOLCK: "this file system gives no locks; choose a folder on another one",
    errno.EOPNOTSUPP: "this file system lacks what brmrs needs (file locks); choose a folder on "
    "another one",
    errno.ESTALE: "the network file system lost the file; mount it again and run again",
    errno.EIO: "the disk cannot be read or written; check it",
    errno.EMFILE: "allow more open files (ulimit -n) and run again",
    errno.ENFILE: "close other programs, which have too many open files, and run again",
    errno.ENOMEM: "free memory, or choose smaller batches, and run again",
    errno.EMLINK: "choose a folder on another file system",
    errno.ENOSYS: "this file system lacks what brmrs needs; choose a folder on another one",
    errno.ENXIO: "the disk is gone; connect it and run again",
    errno.ENODEV: "the disk is gone; connect it and run again",
    errno.ENOTCONN: "the network file system is gone; mount it again and run again",
    errno.EREMOTEIO: "the network file system failed; mount it again and run again",
    errno.EHOSTDOWN: "the network file system's server is down; run again when it is up",
    errno.EBUSY: "another program uses it; end that program and run again",
    errno.ETXTBSY: "another program runs it; end that program and run again",
    errno.ENAMETOOLONG: "choose a shorter path",
    errno.ELOOP: "the path is a link where brmrs needs a file or a folder, or its links form a "
    "loop; remove the link",
    errno.EISDIR: "brmrs needs a file there; remove the folder",
    errno.ENOTDIR: "brmrs needs a folder there; remove the file",
    errno.EEXIST: "brmrs needs a folder there; remove the file",
}
# SQLite's own numbers: read-only, input or output failed, disk full.
_OF_SQLITE = {8: errno.EROFS, 10: errno.EIO, 13: errno.ENOSPC}
# Libraries written in Rust, and torch's allocator, give the number only in their message.
_NUMBER_IN_TEXT = re.compile(r"\(os error (\d+)\)|Error code (\d+) \(")


def os_fault(error: BaseException) -> UserError | None:
    """Turn the operating-system error behind an exception into advice.

    The advice depends on the errno of the exception or of one in its `__cause__` chain, never on
    the message. Libraries written in Rust (safetensors, polars) give the errno only in their
    message, as "(os error 28)".

    Returns:
        The advice; None if no known operating-system error is behind the exception.
    """
    seen: set[int] = set()
    cause: BaseException | None = error
    while cause is not None and id(cause) not in seen:
        seen.add(id(cause))
        number = _number(cause)
        if number in ADVICE:
            file = getattr(cause, "filename", None)
            where = f"{os.fsdecode(file)}: " if isinstance(file, str | bytes | os.PathLike) else ""
            return UserError(f"{where}{os.strerror(number)}; {ADVICE[number]}")
        cause = cause.__cause__
    return None


def _number(error: BaseException) -> int:
    """The errno of an exception; 0 where it has none."""
    if isinstance(error, OSError) and error.errno:
        return error.errno
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":  # torch's
        return errno.ENOMEM
    if of_sqlite := getattr(error, "sqlite_errorcode", 0):
        return _OF_SQLITE.get(of_sqlite & 0xFF, 0)  # the rest of the number says where it failed
    found = _NUMBER_IN_TEXT.search(str(error))
    return int(found[1] or found[2]) if found else 0


OF_SERVE = {"fastapi", "starlette", "uvicorn", "faiss"}  # packages of the extra `serve`


def missing_package(error: ModuleNotFoundError) -> UserError | None:
    """The missing package and how to install it; None for a module of the project."""
    name = (error.name or "").partition(".")[0]
    if not name or name in {"brmrs", "tasks", "flows"}:
        return None
    extra = "serve" if name in OF_SERVE else "pipeline"
    return UserError(
        f"this command needs the Python package {name!r}, which is not installed; "
        f"run pip install 'brmrs[{extra}]' (plain brmrs can only read finished runs and recommend)"
    )
