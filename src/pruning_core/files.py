"""Files that are complete or not there at all, and errors that name the file."""

from __future__ import annotations

import errno
import os
import secrets
import stat
import tempfile
from contextlib import suppress
from pathlib import Path


def write_atomically(path: Path, content: bytes) -> None:
    """Write to a temporary name in the same folder, flush to disk, and rename.

    The temporary name is one that nothing had before, no link either.

    Raises:
        OSError: naming ``path``; what was there before is still there, whole.
    """
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}.partial")
    try:
        with temporary.open("xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException as error:
        _discard(temporary)
        if isinstance(error, OSError):
            raise OSError(error.errno, error.strerror or str(error), str(path)) from error
        raise


def clear_partial(folder: Path) -> None:
    """Remove what writers in this folder have left that were killed; none may be at work."""
    for path in folder.glob(".*.partial"):
        _discard(path)


def read_regular(path: Path, limit: int | None = None) -> bytes:
    """The content of a file that is one: a pipe or a device could keep the reader for ever.

    Args:
        path: of the file, or of a link to it.
        limit: most bytes to take into memory; None for as many as the file has.

    Raises:
        OSError: naming ``path``, if it cannot be read, is of another kind or too large.
    """
    found = path.stat()
    if stat.S_ISDIR(found.st_mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    if not stat.S_ISREG(found.st_mode):
        raise OSError(errno.EINVAL, "Not a regular file", str(path))
    if limit is not None and found.st_size > limit:
        raise OSError(errno.EFBIG, f"{found.st_size} bytes, but {limit} at most", str(path))
    return path.read_bytes()


def make_writable(folder: Path) -> None:
    """Create a folder if it is missing, and see that it has room for a file.

    Several processes may do so at once: what is written has no name, and ends with this call.

    Raises:
        OSError: saying what stands in the way.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryFile(dir=folder) as probe:
        probe.write(bytes(4096))


def _discard(path: Path) -> None:
    """Remove a file if that can be done; what went wrong before is what is to be told."""
    with suppress(OSError):
        path.unlink()
