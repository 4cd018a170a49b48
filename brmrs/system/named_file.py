"""Read a small file that the user names on the command line."""

from pathlib import Path

from brmrs.errors import UserError

MOST = 10_000_000  # bytes


def read_named(path: Path) -> bytes:
    """The content of a configuration, a plug-in, or a pipe that gives one.

    Raises:
        OSError: the file cannot be read.
        UserError: it has more than `MOST` bytes, as a device that never ends has.
    """
    with path.open("rb") as file:
        content = file.read(MOST + 1)
    if len(content) > MOST:
        raise UserError(f"{path}: more than {MOST:,} bytes; name another file")
    return content
