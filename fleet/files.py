"""Files that survive a crash: a reader sees the old content or the new, never half of either."""

import contextlib
import os
from pathlib import Path


def replace_text(path: Path, content: str, *, durable: bool = False) -> None:
    """Put `content` in the place of the file in one step; raise OSError, the old file then stands as it was.

    The new content is written beside the file, so that the rename stays within one file system. A `durable`
    write is on the disk when this returns: file, then folder.
    """
    import tempfile  # noqa: PLC0415  # only who writes pays for it

    descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
            stream.write(content)
            stream.flush()
            if durable:
                os.fsync(stream.fileno())
        Path(name).replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            Path(name).unlink()
        raise
    if durable:
        sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Put a folder's entries on the disk, so that a rename in it outlives a power cut."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
