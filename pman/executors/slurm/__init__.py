"""SLURM: a job is one batch job by the job's name, and one directory of the storebase.

Reached by the entry point `slurm` alone; of pman it imports executors/shared, jobs and errors.
Begin with executor.py, the protocol; transport.py has the calls, which rest.py and cli.py carry in two ways.
"""

from pman.executors.slurm.executor import connect

__all__ = ["connect"]
