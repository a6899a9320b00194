"""The flags of ``run`` and ``create``."""

from __future__ import annotations

from sampan.flags import BOOL, INT, LIST, TEXT, Flag

_TABLE = """
add-host||list|Add a custom host-to-IP mapping (host:ip)
annotation||list|Add an annotation to the container (passed through to the OCI runtime)
attach|a|list|Attach to STDIN, STDOUT or STDERR
blkio-weight||int|Block IO (relative weight), between 10 and 1000, or 0 to disable
cap-add||list|Add Linux capabilities
cap-drop||list|Drop Linux capabilities
cgroup-parent||string|Optional parent cgroup for the container
cgroupns||string|Cgroup namespace to use (host|private)
cidfile||string|Write the container ID to the file
cpu-period||int|Limit CPU CFS (Completely Fair Scheduler) period
cpu-quota||int|Limit CPU CFS (Completely Fair Scheduler) quota
cpu-shares|c|int|CPU shares (relative weight)
cpus||string|Number of CPUs
cpuset-cpus||string|CPUs in which to allow execution (0-3, 0,1)
cpuset-mems||string|MEMs in which to allow execution (0-3, 0,1)
detach|d|bool|Run container in background and print container ID
detach-keys||string|Override the key sequence for detaching a container
device||list|Add a host device to the container
device-cgroup-rule||list|Add a rule to the cgroup allowed devices list
device-read-bps||list|Limit read rate (bytes per second) from a device
device-read-iops||list|Limit read rate (IO per second) from a device
device-write-bps||list|Limit write rate (bytes per second) to a device
device-write-iops||list|Limit write rate (IO per second) to a device
dns||list|Set custom DNS servers
dns-option||list|Set DNS options
dns-opt||list|Set DNS options
dns-search||list|Set custom DNS search domains
domainname||string|Container NIS domain name
entrypoint||string|Overwrite the default ENTRYPOINT of the image
env|e|list|Set environment variables
env-file||list|Read in a file of environment variables
expose||list|Expose a port or a range of ports
gpus||string|GPU devices to add to the container ('all' to pass all GPUs)
group-add||list|Add additional groups to join
health-cmd||string|Command to run to check health
health-interval||string|Time between running the check (ms|s|m|h)
health-retries||int|Consecutive failures needed to report unhealthy
health-start-interval||string|Time between checks during the start period (ms|s|m|h)
health-start-period||string|Start period before health-retries countdown (ms|s|m|h)
health-timeout||string|Maximum time to allow one check to run (ms|s|m|h)
hostname|h|string|Container host name
init||bool|Run an init inside the container that forwards signals and reaps processes
interactive|i|bool|Keep STDIN open even if not attached
ip||string|IPv4 address (e.g., 172.30.100.104)
ip6||string|IPv6 address (e.g., 2001:db8::33)
ipc||string|IPC mode to use
isolation||string|Container isolation technology
kernel-memory||string|Kernel memory limit (ignored)
label|l|list|Set meta data on a container
label-file||list|Read in a line delimited file of labels
link||list|Add link to another container
link-local-ip||list|Container IPv4/IPv6 link-local addresses
log-driver||string|Logging driver for the container
log-opt||list|Log driver options
mac-address||string|Container MAC address (e.g., 92:d0:c6:0a:29:33)
memory|m|string|Memory limit
memory-reservation||string|Memory soft limit
memory-swap||string|Swap limit equal to memory plus swap: -1 to enable unlimited swap
memory-swappiness||int|Tune container memory swappiness (0 to 100)
mount||list|Attach a filesystem mount to the container
name||string|Assign a name to the container
net||list|Connect a container to a network
net-alias||list|Add network-scoped alias for the container
network||list|Connect a container to a network
network-alias||list|Add network-scoped alias for the container
no-healthcheck||bool|Disable any container-specified HEALTHCHECK
oom-kill-disable||bool|Disable OOM Killer
oom-score-adj||int|Tune host's OOM preferences (-1000 to 1000)
pid||string|PID namespace to use
pids-limit||int|Tune container pids limit (set -1 for unlimited)
platform||string|Set platform if server is multi-platform capable
privileged||bool|Give extended privileges to this container
publish|p|list|Publish a container's port(s) to the host
publish-all|P|bool|Publish all exposed ports to random ports
pull||string|Pull image before running (always, missing, never)
quiet|q|bool|Suppress the pull output
read-only||bool|Mount the container's root filesystem as read only
restart||string|Restart policy to apply when a container exits
rm||bool|Automatically remove the container when it exits
runtime||string|Runtime to use for this container
security-opt||list|Security Options
shm-size||string|Size of /dev/shm
sig-proxy||bool|Proxy received signals to the process (default true)
stop-signal||string|Signal to stop the container
stop-timeout||int|Timeout (in seconds) to stop a container
storage-opt||list|Storage driver options for the container
sysctl||list|Sysctl options
tmpfs||list|Mount a tmpfs directory
tty|t|bool|Allocate a pseudo-TTY
ulimit||list|Ulimit options
user|u|string|Username or UID (format: <name|uid>[:<group|gid>])
userns||string|User namespace to use
uts||string|UTS namespace to use
volume|v|list|Bind mount a volume
volume-driver||string|Optional volume driver for the container
volumes-from||list|Mount volumes from the specified container(s)
workdir|w|string|Working directory inside the container
"""
_RUN_ONLY = ("detach", "detach-keys", "sig-proxy")
_KINDS = {"bool": BOOL, "int": INT, "list": LIST, "string": TEXT}


def _flag(line: str) -> Flag:
    # The help text may hold a bar of its own.
    name, short, kind, text = line.split("|", 3)
    return Flag(name, short, _KINDS[kind], text)


RUN_FLAGS = tuple(map(_flag, _TABLE.strip().splitlines()))
CREATE_FLAGS = tuple(flag for flag in RUN_FLAGS if flag.name not in _RUN_ONLY)
