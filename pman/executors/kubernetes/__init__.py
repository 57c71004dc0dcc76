"""The Kubernetes API, for any documents of which one is a Job by the job's name.

Reached by the entry point `kubernetes` alone; of pman it imports executors/shared, jobs and errors.
Begin with executor.py, the protocol; objects.py creates a Job, informer.py fills the store that polls read.
"""

from pman.executors.kubernetes.executor import connect

__all__ = ["connect"]
