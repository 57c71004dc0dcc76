"""Docker Swarm, over the Docker Engine API of a manager: a job is one service in replicated-job mode.

Only the registry imports it. Begin with `executor.py`, which meets the protocol; `services.py` says what
swarms do to services, and closes those that have ended; `logs.py` has the logs of a service's tasks as one.
"""

from pman.executors.swarm.executor import connect

__all__ = ["connect"]
