"""Docker Swarm: Docker Engine API of a manager; a job is one service in replicated-job mode.

executor.py   the protocol
services.py   create, find, close, delete; the tasks of a service
logs.py       the logs of a service's tasks, as one
"""

from pman.executors.swarm.executor import connect

__all__ = ["connect"]
