"""Cromwell, over its REST API: a job is one workflow of one task, on whatever backend the server has.

Reached by the entry point `cromwell` alone; of pman it imports executors/shared, jobs and errors.
Begin with executor.py, the protocol; then workflows.py: which workflow is a job's, when Cromwell tells late.
"""

from pman.executors.cromwell.executor import connect

__all__ = ["connect"]
