"""Atomic file replacement: after a crash a reader finds the old content or the new, never a part."""

import contextlib
import os
import threading
from pathlib import Path


def replace_text(path: Path, content: str, *, durable: bool = False) -> None:
    """Replace the file's content in one step; raise OSError and leave the old file unchanged.

    The new content first goes into a temporary file of the same folder. A rename is atomic only within one file system.
    A `durable` write is on the disk on return, the file first and then the folder. Some file systems cannot flush a
    folder.
    """
    # Process and thread id make the name unique among the writers that are alive.
    name = path.with_name(f".{path.name}.{os.getpid()}-{threading.get_ident():x}")
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
        # The new content is in place: an error here would say that the old one still is.
        with contextlib.suppress(OSError):
            sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Flush a folder's entries to the disk, so that a rename in it survives a power cut."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
