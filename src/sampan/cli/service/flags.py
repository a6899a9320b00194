"""The flags of ``service create`` and ``service update``: one list, since most are in both."""

from __future__ import annotations

from sampan.flags import BOOL, INT, LIST, TEXT, Flag

# name | short | kind | who has it: c(reate), u(pdate) | help
_TABLE = """
args||command|u|Service command args
cap-add||list|cu|Add Linux capabilities
cap-drop||list|cu|Drop Linux capabilities
config||list|c|Specify configurations to expose to the service
config-add||list|u|Add or update a config file on a service
config-rm||list|u|Remove a configuration file
constraint||list|c|Placement constraints
constraint-add||list|u|Add or update a placement constraint
constraint-rm||list|u|Remove a constraint
container-label||list|c|Container labels
container-label-add||list|u|Add or update a container label
container-label-rm||list|u|Remove a container label by its key
credential-spec||string|cu|Credential spec for managed service account (Windows only)
detach|d|bool|cu|Exit immediately instead of waiting for the service to converge
dns||list|c|Set custom DNS servers
dns-add||list|u|Add or update a custom DNS server
dns-option||list|c|Set DNS options
dns-option-add||list|u|Add or update a DNS option
dns-option-rm||list|u|Remove a DNS option
dns-rm||list|u|Remove a custom DNS server
dns-search||list|c|Set custom DNS search domains
dns-search-add||list|u|Add or update a custom DNS search domain
dns-search-rm||list|u|Remove a DNS search domain
endpoint-mode||string|cu|Endpoint mode (vip or dnsrr)
entrypoint||command|cu|Overwrite the default ENTRYPOINT of the image
env|e|list|c|Set environment variables
env-add||list|u|Add or update an environment variable
env-file||list|c|Read in a file of environment variables
env-rm||list|u|Remove an environment variable
force||bool|u|Force update even if no changes require it
generic-resource||list|c|User defined resources
generic-resource-add||list|u|Add a Generic resource
generic-resource-rm||list|u|Remove a Generic resource
group||list|c|Set one or more supplementary user groups for the container
group-add||list|u|Add an additional supplementary user group to the container
group-rm||list|u|Remove a previously added supplementary user group from the container
health-cmd||string|cu|Command to run to check health
health-interval||duration|cu|Time between running the check (ms|s|m|h)
health-retries||int|cu|Consecutive failures needed to report unhealthy
health-start-interval||duration|cu|Time between checks during the start period (ms|s|m|h)
health-start-period||duration|cu|Time for the container to start before failures count (ms|s|m|h)
health-timeout||duration|cu|Maximum time to allow one check to run (ms|s|m|h)
host||list|c|Set one or more custom host-to-IP mappings (host:ip)
host-add||list|u|Add a custom host-to-IP mapping ("host:ip")
host-rm||list|u|Remove a custom host-to-IP mapping ("host:ip")
hostname||string|cu|Container hostname
image||string|u|Service image tag
init||bool|cu|Use an init inside each container to forward signals and reap processes
isolation||string|cu|Service container isolation mode
label|l|list|c|Service labels
label-add||list|u|Add or update a service label
label-rm||list|u|Remove a label by its key
limit-cpu||decimal|cu|Limit CPUs
limit-memory||bytes|cu|Limit Memory
limit-pids||int|cu|Limit maximum number of processes (default 0 = unlimited)
log-driver||string|cu|Logging driver for service
log-opt||list|cu|Logging driver options
max-concurrent||uint|cu|Number of job tasks to run concurrently (default equal to --replicas)
mode||string|c|Service mode (replicated, global, replicated-job, global-job)
mount||list|c|Attach a filesystem mount to the service
mount-add||list|u|Add or update a mount on a service
mount-rm||list|u|Remove a mount by its target path
name||string|c|Service name
network||list|c|Network attachments
network-add||list|u|Add a network
network-rm||list|u|Remove a network
no-healthcheck||bool|cu|Disable any container-specified HEALTHCHECK
no-resolve-image||bool|cu|Do not query the registry to resolve image digest and platforms
oom-score-adj||int|cu|Tune host's OOM preferences (-1000 to 1000)
placement-pref||list|c|Add a placement preference
placement-pref-add||list|u|Add a placement preference
placement-pref-rm||list|u|Remove a placement preference
publish|p|list|c|Publish a port as a node port
publish-add||list|u|Add or update a published port
publish-rm||list|u|Remove a published port by its target port
quiet|q|bool|cu|Suppress progress output
read-only||bool|cu|Mount the container's root filesystem as read only
replicas||uint|cu|Number of tasks
replicas-max-per-node||uint|cu|Maximum number of tasks per node (default 0 = unlimited)
reserve-cpu||decimal|cu|Reserve CPUs
reserve-memory||bytes|cu|Reserve Memory
restart-condition||string|cu|Restart when condition is met ("none", "on-failure", "any")
restart-delay||duration|cu|Delay between restart attempts (ns|us|ms|s|m|h) (default 5s)
restart-max-attempts||uint|cu|Maximum number of restarts before giving up
restart-window||duration|cu|Window used to evaluate the restart policy (ns|us|ms|s|m|h)
rollback||bool|u|Rollback to previous specification
rollback-delay||duration|cu|Delay between task rollbacks (ns|us|ms|s|m|h) (default 0s)
rollback-failure-action||string|cu|Action on rollback failure ("pause", "continue")
rollback-max-failure-ratio||float|cu|Failure rate to tolerate during a rollback
rollback-monitor||duration|cu|Time to watch each task for failure after its rollback (default 5s)
rollback-order||string|cu|Rollback order ("start-first", "stop-first")
rollback-parallelism||uint|cu|Maximum number of tasks rolled back at once (0: all) (default 1)
secret||list|c|Specify secrets to expose to the service
secret-add||list|u|Add or update a secret on a service
secret-rm||list|u|Remove a secret
stop-grace-period||duration|cu|Time to wait before force killing a container (default 10s)
stop-signal||string|cu|Signal to stop the container
sysctl||list|c|Sysctl options
sysctl-add||list|u|Add or update a Sysctl option
sysctl-rm||list|u|Remove a Sysctl option
tty|t|bool|cu|Allocate a pseudo-TTY
ulimit||list|c|Ulimit options
ulimit-add||list|u|Add or update a ulimit option
ulimit-rm||list|u|Remove a ulimit option
update-delay||duration|cu|Delay between updates (ns|us|ms|s|m|h) (default 0s)
update-failure-action||string|cu|Action on update failure ("pause", "continue", "rollback")
update-max-failure-ratio||float|cu|Failure rate to tolerate during an update
update-monitor||duration|cu|Time to watch each task for failure after its update (default 5s)
update-order||string|cu|Update order ("start-first", "stop-first")
update-parallelism||uint|cu|Maximum number of tasks updated at once (0: all) (default 1)
user|u|string|cu|Username or UID (format: <name|uid>[:<group|gid>])
with-registry-auth||bool|cu|Send registry authentication details to swarm agents
workdir|w|string|cu|Working directory inside the container
"""
_KINDS = {"bool": BOOL, "int": INT, "list": LIST, "string": TEXT}
# Other kinds (uint, duration, bytes ...) are texts: the help names them, their readers check them.


def _flags(whose: str) -> tuple[Flag, ...]:
    found = []
    for line in _TABLE.strip().splitlines():
        # The help text may hold a bar of its own.
        name, short, kind, who, text = line.split("|", 4)
        if whose in who:
            found.append(Flag(name, short, _KINDS.get(kind, kind), text))
    return tuple(found)


CREATE_FLAGS = _flags("c")
UPDATE_FLAGS = _flags("u")
