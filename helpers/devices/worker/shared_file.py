"""Room for arrays that two processes map, reserved before it is used."""

from __future__ import annotations

import os
import tempfile

from helpers.errors import ResourceError


def reserve_shared_file(size: int):
    """A named temporary file of `size` bytes: in shared memory, or on disk where that is too small.

    Raises:
        ResourceError: neither has the room. Containers often give shared memory 64 MB.
    """
    problem = None
    for folder in filter(os.path.isdir, ("/dev/shm", tempfile.gettempdir())):  # noqa: S108
        stream = tempfile.NamedTemporaryFile(prefix="cookbook-", dir=folder)  # noqa: SIM115
        try:
            # Reserved now, because a write into a file that only pretends its size ends in SIGBUS, not in an error.
            os.posix_fallocate(stream.fileno(), 0, size)
        except OSError as error:
            stream.close()
            problem = error
        else:
            return stream
    raise ResourceError(
        "no room to pass arrays to the worker",
        received=problem.strerror,
        expected=f"{size >> 20} MB in /dev/shm or {tempfile.gettempdir()}",
        remedy="Lower batch_size, or give the container more shared memory.",
    )
