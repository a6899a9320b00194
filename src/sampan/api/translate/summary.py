"""A container's record as a row of ``docker ps``, and the filters of that list.

Records never change, so a row is built once per record and kept; only the words that depend on
the time of day are made anew.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from sampan.api.filters import Filters
from sampan.api.timestamps import ago
from sampan.api.translate.container import NetworkIds, mount_out, state_name
from sampan.api.translate.hostconfig import port_key
from sampan.api.translate.network import endpoint_out
from sampan.api.types import containers as wire
from sampan.api.types.common import Port
from sampan.errors import InvalidArgument, NotFound
from sampan.store.records import Container, Health, Phase

FILTERS = (
    "ancestor",
    "before",
    "exited",
    "expose",
    "health",
    "id",
    "is-task",
    "isolation",
    "label",
    "name",
    "network",
    "publish",
    "since",
    "status",
    "volume",
)
_STATES = ("created", "running", "paused", "restarting", "removing", "exited", "dead")


def status_text(container: Container, now: float) -> str:
    """ "Up 5 minutes (healthy)"."""
    run, name = container.run, state_name(container)
    match name:
        case "removing":
            return "Removal In Progress"
        case "dead":
            return "Dead"
        case "created":
            return "Created"
    assert run is not None
    match name:
        case "restarting":
            return f"Restarting ({run.exit_code}) {ago(run.finished_at, now)} ago"
        case "paused":
            return f"Up {ago(run.started_at, now)} (Paused)"
        case "running":
            return f"Up {ago(run.started_at, now)}{_health_text(run.health)}"
    return f"Exited ({run.exit_code}) {ago(run.finished_at, now)} ago"


def _health_text(health: Health | None) -> str:
    if health is None or health.status == "none":
        return ""
    return " (health: starting)" if health.status == "starting" else f" ({health.status})"


def ports(container: Container) -> list[Port]:
    """Published ports, then those only exposed; none unless it runs."""
    if not container.running:
        return []
    rows = [
        Port(
            ip=port.host_ip,
            private_port=port.container_port,
            public_port=port.host_port,
            type=port.protocol,
        )
        for port in container.ports
    ]
    published = {(port.container_port, port.protocol) for port in container.ports}
    for written in container.spec.exposed_ports:
        number, _, protocol = written.partition("/")
        if number.isdigit() and (int(number), protocol) not in published:
            rows.append(Port(private_port=int(number), type=protocol))
    return rows


def command_text(args: Iterable[str]) -> str:
    """The command line, arguments with spaces quoted."""
    return " ".join(f"'{arg}'" if " " in arg else arg for arg in args)


class Summaries:
    """Rows by container id, each with the record it was made from."""

    def __init__(self) -> None:
        self._rows: dict[str, tuple[Container, wire.Summary]] = {}

    def row(self, container: Container, now: float, network_id: NetworkIds) -> wire.Summary:
        """The row of a record; do not change it, but for the fields set by the list itself."""
        known = self._rows.get(container.id)
        if known is not None and known[0] is container:
            row = known[1]
        else:
            row = _row(container, network_id)
            self._rows[container.id] = (container, row)
        row.status = status_text(container, now)
        return row

    def keep(self, ids: Callable[[str], bool], count: int) -> None:
        """Forget rows of containers that are gone, once there are many."""
        if len(self._rows) > 2 * count + 64:
            self._rows = {key: row for key, row in self._rows.items() if ids(key)}


def _row(container: Container, network_id: NetworkIds) -> wire.Summary:
    spec = container.spec
    return wire.Summary(
        id=container.id,
        names=["/" + container.name],
        image=spec.image,
        image_id=container.image_id,
        command=command_text(spec.args),
        created=int(container.created_at),
        ports=ports(container),
        labels=spec.labels,
        state=state_name(container),
        status="",
        host_config=wire.SummaryHostConfig(network_mode=spec.host.network_mode),
        network_settings=wire.SummaryNetworks(
            networks={
                name: endpoint_out(endpoint, None, network_id(name))
                for name, endpoint in container.networks.items()
            }
        ),
        mounts=[mount_out(mount) for mount in container.mount_points],
    )


class Matcher:
    """The filters of the list, looked at once; ``matches`` is then asked of every container."""

    def __init__(
        self,
        filters: Filters,
        *,
        find: Callable[[str], Container],
        ancestors: Callable[[str], frozenset[str]],
    ) -> None:
        """``find`` resolves ``before`` and ``since``; ``ancestors`` gives the image ids that
        descend from (or are) a reference, none when it does not exist.

        Raises:
            InvalidArgument: a value that makes no sense.
            NotFound: ``before`` or ``since`` name nobody.
        """
        self._filters = filters
        for status in filters.get("status", ()):
            if status not in _STATES:
                raise InvalidArgument(
                    f"invalid filter 'status={status}': it is one of {', '.join(_STATES)}"
                )
        for health in filters.get("health", ()):
            if health not in ("starting", "healthy", "unhealthy", "none"):
                raise InvalidArgument(f"invalid filter 'health={health}'")
        self._exited = frozenset(_whole(code, "exited") for code in filters.get("exited", ()))
        self._before = [find(ref).created_at for ref in filters.get("before", ())]
        self._since = [find(ref).created_at for ref in filters.get("since", ())]
        self._images: frozenset[str] | None = None
        if "ancestor" in filters:
            self._images = frozenset().union(*(ancestors(ref) for ref in filters["ancestor"]))
        self._expose = frozenset(port_key(port) for port in filters.get("expose", ()))
        self._publish = frozenset(port_key(port) for port in filters.get("publish", ()))

    @property
    def wants_stopped(self) -> bool:
        """``status`` and ``exited`` imply ``all``."""
        return "status" in self._filters or "exited" in self._filters

    def matches(self, container: Container) -> bool:
        filters, run = self._filters, container.run
        if not (
            filters.prefix("id", container.id)
            and filters.pattern("name", "/" + container.name, container.name)
            and filters.labels(container.spec.labels)
            and filters.exact("status", state_name(container))
        ):
            return False
        if self._images is not None and container.image_id not in self._images:
            return False
        if self._exited and (
            run is None or run.phase is not Phase.STOPPED or run.exit_code not in self._exited
        ):
            return False
        if any(container.created_at >= moment for moment in self._before):
            return False
        if any(container.created_at <= moment for moment in self._since):
            return False
        if filters.get("is-task") and filters.flag("is-task"):
            return False
        return self._matches_rest(container)

    def _matches_rest(self, container: Container) -> bool:
        filters, run = self._filters, container.run
        if "health" in filters:
            health = run.health.status if run is not None and run.health is not None else "none"
            if health not in filters["health"]:
                return False
        if "network" in filters and not any(
            ref == name or (endpoint.network_id and endpoint.network_id.startswith(ref))
            for ref in filters["network"]
            for name, endpoint in container.networks.items()
        ):
            return False
        if "volume" in filters:
            wanted = set(filters["volume"])
            if not any(wanted & {m.name, m.target} for m in container.mount_points):
                return False
        if self._publish and not any(
            f"{port.host_port}/{port.protocol}" in self._publish for port in container.ports
        ):
            return False
        return not self._expose or bool(self._expose.intersection(container.spec.exposed_ports))


def _whole(value: str, key: str) -> int:
    try:
        return int(value)
    except ValueError as error:
        raise InvalidArgument(f"invalid filter '{key}={value}': it is a whole number") from error


def shown_image(container: Container, image_id_of: Callable[[str], str]) -> str:
    """The reference the user wrote, unless it means another image by now: then the id."""
    written = container.spec.image
    try:
        current = image_id_of(written)
    except NotFound:
        current = ""
    return written if current == container.image_id else container.image_id
