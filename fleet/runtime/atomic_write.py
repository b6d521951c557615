"""Files that survive a crash: a reader sees the old content or the new, never half of either."""

import contextlib
import os
import threading
from pathlib import Path


def replace_text(path: Path, content: str, *, durable: bool = False) -> None:
    """Put `content` in the place of the file in one step; raise OSError, the old file then stands as it was.

    The new content is written beside the file, so that the rename stays within one file system. A `durable`
    write is on the disk when this returns: file, then folder.
    """
    name = path.with_name(
        f".{path.name}.{os.getpid()}-{threading.get_ident():x}"
    )  # nobody else's while we live
    descriptor = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
            stream.write(content)
            stream.flush()
            if durable:
                os.fsync(stream.fileno())
        name.replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            name.unlink()
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
