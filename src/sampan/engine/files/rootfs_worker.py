"""The worker process that moves into containers' file systems: copies in, copies out, looks.

It speaks the frames of ``sampan.image.worker_frames``. Every job is done by a child made for it,
which enters the container's view for good (``sampan.kernel.view``) and ends with its answer: this
process stays warm and never leaves the host, the child is as confined as the container is.

Inside, nothing may be loaded: an ``import`` would execute the container's files as root
on the host. So everything is imported above, and the child forgets how to.
"""

from __future__ import annotations

# bz2 and lzma: what decompresses is chosen by the data's first bytes, when the doors are shut.
import bz2  # noqa: F401
import errno
import json
import lzma  # noqa: F401
import os
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

from sampan.engine.files.archive_in import ExtractOptions, Extractor, PathConflict
from sampan.engine.files.archive_out import archive_all, archive_out, describe
from sampan.errors import InvalidArgument
from sampan.image.tar import BadTar, ByteSource
from sampan.image.worker import inflate
from sampan.image.worker_frames import Channel, channel_of_this_process
from sampan.kernel.inroot import open_in
from sampan.kernel.view import Bind, die_with_parent, enter_process, enter_tree
from sampan.runtime.users import resolve

with suppress(ImportError):
    import zstandard  # type: ignore[import-not-found, unused-ignore]  # noqa: F401

_ROOT = Path("/")


class RootfsWorker:
    """Serves jobs of ``channel`` until they end."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel

    def serve(self) -> None:
        for job in self._channel.jobs():
            child = os.fork()
            if child == 0:
                self._child(job)
            _, status = os.waitpid(child, 0)
            if status:
                # Its answer may lie half in the pipe: the frames are lost, so this process is.
                sys.exit(f"a rootfs worker ended with status {os.waitstatus_to_exitcode(status)}")

    def _child(self, job: dict[str, Any]) -> None:
        code = 1
        try:
            die_with_parent()
            _shut_doors()
            self._answer(job)
            code = 0
        except BrokenPipeError:
            pass  # the caller no longer waits for the answer
        finally:
            os._exit(code)

    def _answer(self, job: dict[str, Any]) -> None:
        try:
            _enter(job)
            match job["job"]:
                case "stat":
                    result = describe(_ROOT, job["path"])
                case "get":
                    self._channel.send(b"D", json.dumps(describe(_ROOT, job["path"])).encode())
                    self._channel.stream(archive_out(_ROOT, job["path"]))
                    result = {}
                case "export":
                    self._channel.stream(archive_all(_ROOT))
                    result = {}
                case "put":
                    result = self._put(job)
                case other:
                    raise ValueError(other)
            self._channel.done(result)
        except ProcessLookupError as error:
            self._channel.fail("ended", str(error))
        except (BadTar, PathConflict, InvalidArgument) as error:
            self._channel.fail("tar", str(error))
        except BrokenPipeError:
            raise
        except OSError as error:
            self._channel.fail(_KINDS.get(error.errno or 0, "os"), str(error))

    def _put(self, job: dict[str, Any]) -> dict[str, Any]:
        try:
            os.close(open_in(_ROOT, job["path"], os.O_RDONLY | os.O_DIRECTORY))
        except NotADirectoryError:
            raise InvalidArgument("extraction point is not a directory") from None
        owner = None
        if job["user"]:
            who = resolve(_ROOT, job["user"])
            owner = (who.uid, who.gid)
        how = ExtractOptions(keep_kinds=job["keep_kinds"], owner=owner)
        data = self._channel.data()
        Extractor(ByteSource(inflate(data)), job["path"], how).run()
        for _ in data:
            pass  # what follows the archive's end: read, so that the next frame is a job
        return {}


_KINDS = {
    errno.ENOENT: "missing",
    errno.ENOTDIR: "missing",
    errno.EROFS: "read-only",
    errno.ENOSPC: "full",
    errno.EDQUOT: "full",
}


def _enter(job: dict[str, Any]) -> None:
    if job.get("pid"):
        enter_process(job["pid"], job["started"])
    else:
        binds = [Bind(**bind) for bind in job["binds"]]
        enter_tree(Path(job["root"]), binds, read_only=job["read_only"])


def _shut_doors() -> None:
    """From here on no module is found, by any path."""
    sys.path.clear()
    sys.path_importer_cache.clear()
    sys.meta_path.clear()


def main() -> None:
    RootfsWorker(channel_of_this_process()).serve()


if __name__ == "__main__":
    main()
