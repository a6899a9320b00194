"""Secrets and configs as files, one directory a task, in memory only.

    <state>/payloads/<task id>/<number>       0700, below a tmpfs

The state directory of a daemon is a tmpfs (/run); where somebody chose another place for it, one
is mounted here, for a secret must never reach a disk. The files outlive the daemon, as the
containers do that have them mounted, and go with their container.
"""

from __future__ import annotations

import os
import posixpath
import shutil
import threading
from pathlib import Path

from sampan.cluster.agent.container import PayloadFile, container_of
from sampan.cluster.agent.contract import Supplies
from sampan.cluster.protocol.messages import Assignment, Payload
from sampan.cluster.spec import FileTarget
from sampan.cluster.templates import PlaceholderValues, TemplateError, expand
from sampan.errors import InvalidArgument
from sampan.kernel import mount

SECRETS = "/run/secrets"
_NO_MODE = 0o444
_MEMORY = ("tmpfs", "ramfs")


class PayloadFiles:
    """Blocking: call it in a thread."""

    def __init__(self, state: Path) -> None:
        self._root = state / "payloads"
        self._lock = threading.RLock()
        """The last task takes the tmpfs away; none may come in between."""

    def write(
        self, task: Assignment, supplies: Supplies, names: PlaceholderValues
    ) -> list[PayloadFile]:
        """Write the task's files anew. On failure nothing is left.

        Raises:
            InvalidArgument: one of them did not come with the task.
        """
        wanted = _wanted(task, supplies)
        if not wanted:
            return []
        with self._lock:
            return self._write(task, wanted, supplies, names)

    def _write(
        self,
        task: Assignment,
        wanted: list[tuple[Payload, FileTarget, str]],
        supplies: Supplies,
        names: PlaceholderValues,
    ) -> list[PayloadFile]:
        self._ready()
        directory = self._root / task.id
        shutil.rmtree(directory, ignore_errors=True)
        try:
            directory.mkdir(mode=0o700)
            found = []
            for number, (payload, target, path) in enumerate(wanted):
                data = _rendered(payload, task, supplies, names)
                source = directory / str(number)
                _make(source, data, target)
                found.append(PayloadFile(str(source), path))
        except BaseException:
            self.remove(task.id)
            raise
        return found

    def remove(self, task_id: str) -> None:
        """Safe to repeat."""
        with self._lock:
            shutil.rmtree(self._root / task_id, ignore_errors=True)
            self._retire()

    def _retire(self) -> None:
        try:
            if next(self._root.iterdir(), None) is None:
                mount.unmount_if_mounted(self._root)
                self._root.rmdir()
        except FileNotFoundError:
            return

    def sweep(self, kept: set[str]) -> None:
        """Files of tasks that no longer have a container."""
        if self._root.is_dir():
            for entry in list(self._root.iterdir()):
                if entry.name not in kept:
                    self.remove(entry.name)

    def _ready(self) -> None:
        self._root.mkdir(parents=True, exist_ok=True, mode=0o700)
        if mount.mount_of(self._root).fstype not in _MEMORY:
            mount.mount(
                "sampan-payloads",
                self._root,
                "tmpfs",
                mount.MS_NOSUID | mount.MS_NODEV | mount.MS_NOEXEC,
                "mode=0700",
            )


def _wanted(task: Assignment, supplies: Supplies) -> list[tuple[Payload, FileTarget, str]]:
    spec = container_of(task)
    found: list[tuple[Payload, FileTarget, str]] = []
    for secret in spec.secrets:
        payload = supplies.secrets.get(secret.secret_id)
        if payload is None:
            raise InvalidArgument(f"secret {secret.secret_name or secret.secret_id} not found")
        target = secret.file or FileTarget(name=secret.secret_name)
        found.append((payload, target, posixpath.join(SECRETS, target.name or payload.name)))
    for config in spec.configs:
        payload = supplies.configs.get(config.config_id)
        if payload is None:
            raise InvalidArgument(f"config {config.config_name or config.config_id} not found")
        if config.file is None:
            continue  # for the runtime, not for the container
        found.append((payload, config.file, posixpath.join("/", config.file.name or payload.name)))
    return found


def _rendered(
    payload: Payload, task: Assignment, supplies: Supplies, names: PlaceholderValues
) -> bytes:
    if payload.templating is None or not payload.templating.name:
        return payload.data
    spec = container_of(task)
    env = dict(entry.partition("=")[::2] for entry in spec.env)

    def secret(target: str) -> str:
        for ref in spec.secrets:
            if ref.file is not None and ref.file.name == target:
                return supplies.secrets[ref.secret_id].data.decode()
        raise TemplateError(f"{payload.name}: the task has no secret {target!r}")

    def config(target: str) -> str:
        for ref in spec.configs:
            if ref.file is not None and ref.file.name == target:
                return supplies.configs[ref.config_id].data.decode()
        raise TemplateError(f"{payload.name}: the task has no config {target!r}")

    functions = {
        "env": lambda name: expand(env.get(name, ""), names),
        "secret": secret,
        "config": config,
    }
    try:
        return expand(payload.data.decode(), names, functions).encode()
    except UnicodeDecodeError as error:
        raise TemplateError(f"{payload.name} is a template, but not text") from error


def _make(path: Path, data: bytes, target: FileTarget) -> None:
    uid, gid = _number(target.uid, "uid"), _number(target.gid, "gid")
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with open(fd, "wb") as file:
        file.write(data)
        os.fchown(fd, uid, gid)
        os.fchmod(fd, target.mode & 0o7777 or _NO_MODE)


def _number(text: str, what: str) -> int:
    if not text:
        return 0
    if not text.isdecimal():
        raise InvalidArgument(f"{what} {text!r} of a secret or config is not a number")
    return int(text)
