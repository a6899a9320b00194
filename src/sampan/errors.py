"""Every failure that sampan reports on purpose, by what the caller should do next.

    SampanError
    ├── InvalidArgument     the request makes no sense: change it
    ├── Unauthorized        say who you are: log in, or present another credential
    ├── Forbidden           you may not do this
    ├── NotFound            the thing named does not exist
    ├── Conflict            the thing is in a state that excludes this: change that state first
    ├── NotModified         it already is as you asked: nothing to do
    ├── Unsupported         this build, host or kernel cannot do it
    ├── Exhausted           a resource ran out: disk, addresses, ports, memory
    ├── Unavailable         something outside of us does not answer: try again later
    ├── Cancelled           the caller went away, or the daemon is stopping
    └── Internal            a bug or a broken host: look at the daemon's log

Packages subclass these for their own cases (``class NoSuchContainer(NotFound)``), keep the
identifiers as attributes and build their own sentence, which ends in what to do next where that
is not obvious. No HTTP status here: the one table is in ``sampan.http.status``,
and each front says where it differs.
"""

from __future__ import annotations


class SampanError(Exception):
    """Base of the tree. ``str(error)`` is the sentence that the user reads."""


class InvalidArgument(SampanError):
    """The request makes no sense as written."""


class Unauthorized(SampanError):
    """The other side wants to know who asks."""


class Forbidden(SampanError):
    """Known who asks, and the answer is no."""


class NotFound(SampanError):
    """The object named does not exist."""


class Conflict(SampanError):
    """The object exists, but its state (or its name being taken) excludes the request."""


class NotModified(SampanError):
    """The object already is in the state asked for."""


class Unsupported(SampanError):
    """This host, kernel or version cannot do it."""


class Exhausted(SampanError):
    """A finite resource ran out: disk space, addresses, ports."""


class Unavailable(SampanError):
    """Something outside of sampan did not answer: a registry, a network, a helper process."""


class Cancelled(SampanError):
    """The caller went away or the daemon stops."""


class Internal(SampanError):
    """A bug, or a host that broke underneath us."""
