"""From an OCI runtime's own words to the sentence that a user of Docker knows."""

from __future__ import annotations

import re

from sampan.errors import InvalidArgument, SampanError
from sampan.runtime.contract import CommandNotExecutable, CommandNotFound, RunFailed

_CREATE = (
    "failed to create task for container: failed to create shim task: OCI runtime create failed: "
)
_EXEC = "OCI runtime exec failed: exec failed: "


def creation_failed(message: str, command: str) -> SampanError:
    """The error that a failed create or start is.

    Args:
        message: what the runtime printed (crun's text, or runc's JSON or text).
        command: argv[0], to tell "your command is missing" from "a mount's source is missing".
    """
    return _mapped(_clean(message), command, _CREATE)


def exec_failed(message: str, command: str) -> SampanError:
    return _mapped(_clean(message), command, _EXEC)


def _mapped(text: str, command: str, prefix: str) -> SampanError:
    low = text.lower()
    start = f'{prefix}unable to start container process: exec: "{command}": '
    about_command = (
        "executable file" in low
        or low.startswith(("open executable", "exec", "cannot exec"))
        or f"exec {command}" in text
        or f'exec: "{command}"' in text
    )
    refused = ("permission denied", "operation not permitted", "is a directory")
    if about_command and any(words in low for words in refused):
        reason = "is a directory" if "is a directory" in low else "permission denied"
        return CommandNotExecutable(f"{start}{reason}: unknown")
    if about_command and "exec format error" in low:
        return CommandNotExecutable(f"{start}exec format error: unknown")
    if about_command and ("not found" in low or "no such file" in low):
        reason = (
            f"stat {command}: no such file or directory"
            if "/" in command
            else "executable file not found in $PATH"
        )
        return CommandNotFound(f"{start}{reason}: unknown")
    if "no such file or directory" in low and command in text:
        return CommandNotFound(f"{start}no such file or directory: unknown")
    if prefix == _EXEC and "chdir" in low and "no such file" in low:
        return CommandNotFound(f"{prefix}unable to start container process: {text}: unknown")
    if _users_fault(low):
        return InvalidArgument(f"{prefix}{text}: unknown")
    return RunFailed(f"{prefix}{text}: unknown")


def _users_fault(low: str) -> bool:
    """Words of failures that another request would not have."""
    return any(
        word in low
        for word in ("mount", "sysctl", "rlimit", "chdir", "cwd", "not a directory", "cpuset")
    )


def _clean(message: str) -> str:
    """The last line that says something, without a log's time stamp and level."""
    lines = [line.strip() for line in message.splitlines() if line.strip()]
    errors = [line for line in lines if "warn" not in line.lower()[:60]] or lines
    text = errors[-1] if errors else "the runtime ended without a word"
    text = re.sub(r"^\d{4}-\d\d-\d\dT[\d:.]+Z?:?\s*", "", text)
    text = re.sub(r"^time=\S+ level=\w+ msg=", "", text).strip('"')
    return text.replace("\\n", " ").replace('\\"', '"').strip()
