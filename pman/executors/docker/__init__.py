"""Docker Engine API, for Docker and for Podman, which speaks it too.

executor.py   the protocol: a job is one container, by the job's name
containers.py create, start once, find, delete
waiting.py    jobs whose image has to be pulled first
markers.py    what the engine holds for pman before there is a container, or after it failed
images.py     pulls, with the registry credentials of this machine
memory.py     what the engine said, for as long as its events do not tell otherwise
frames.py     logs as the API sends them
storebase.py  where the engine's host has the storebase
api.py        the API's version, its words, and where the engine is
"""

from pman.executors.docker.executor import connect_docker, connect_podman

__all__ = ["connect_docker", "connect_podman"]
