"""SLURM: a job is one batch job by the job's name, and one directory of the storebase.

executor.py    the protocol
submission.py  a job that is submitted once, whoever tries, and whenever they end
listing.py     the one query for all polls of a moment
directory.py   the jobs' directories: what was submitted, the log, how it ended
native.py      the one shape of SLURM's answers, whatever their version
transport.py   what is asked of SLURM, by either of
rest.py        slurmrestd
cli.py         sbatch, squeue, scontrol, scancel, sacct
options.py     the options of sbatch for the words of slurmrestd
token.py       the token for slurmrestd
"""

from pman.executors.slurm.executor import connect

__all__ = ["connect"]
