"""Docker Engine API, for Docker and for Podman, which speaks it too: a job is one container by its name.

The registry imports it, `swarm/` its api, frames and storebase, the demo its addresses. Begin with
`executor.py`, which meets the protocol; then `containers.py` starts each container once, `pulls.py` and
`markers.py` hold a job before there is a container, and `cache.py` answers polls for as long as events come.
"""

from pman.executors.docker.executor import connect_docker, connect_podman

__all__ = ["connect_docker", "connect_podman"]
