"""``--security-opt``, read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sampan.errors import InvalidArgument
from sampan.runtime.seccomp.profile import read_profile

UNCONFINED, BUILTIN = "unconfined", "builtin"


@dataclass(frozen=True, slots=True)
class Security:
    """What the options of one container say together."""

    seccomp: str = ""
    """Empty: the distribution's profile; "unconfined"; or a profile's content."""
    apparmor: str = ""
    no_new_privileges: bool = False
    unconfined_paths: bool = False
    labels: tuple[str, ...] = ()
    """Of SELinux, as written. Nothing is done with them: no kernel that we know of runs it."""


def parse(options: Sequence[str]) -> Security:
    """Raises InvalidArgument: an option, or a value of one, that does not exist."""
    seccomp = apparmor = ""
    no_new_privileges = unconfined_paths = False
    labels: list[str] = []
    for option in options:
        # The API's old spelling has a colon where the new one has an equals sign.
        key, separator, value = _split(option)
        match key:
            case "no-new-privileges":
                if separator and value not in ("true", "false"):
                    raise _invalid(option, "it is true or false")
                no_new_privileges = value != "false"
            case "seccomp":
                seccomp = "" if value == BUILTIN else value
                if not value:
                    raise _invalid(option, f"write {BUILTIN}, {UNCONFINED} or a profile")
                if seccomp not in ("", UNCONFINED):
                    read_profile(seccomp.encode())
            case "apparmor":
                if not value:
                    raise _invalid(option, f"write a profile's name or {UNCONFINED}")
                apparmor = "" if value == UNCONFINED else value
            case "systempaths":
                if value != UNCONFINED:
                    raise _invalid(option, f"the only value is {UNCONFINED}")
                unconfined_paths = True
            case "label":
                if not value:
                    raise _invalid(option, "a label has a value, as in label=disable")
                labels.append(value)
            case _:
                raise _invalid(
                    option, "known are apparmor, label, no-new-privileges, seccomp and systempaths"
                )
    return Security(seccomp, apparmor, no_new_privileges, unconfined_paths, tuple(labels))


def _split(option: str) -> tuple[str, str, str]:
    for at, character in enumerate(option):
        if character in "=:":
            return option[:at], character, option[at + 1 :]
    return option, "", ""


def _invalid(option: str, cure: str) -> InvalidArgument:
    return InvalidArgument(f'invalid --security-opt: "{option[:80]}": {cure}')
