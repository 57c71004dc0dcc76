"""Cromwell, over its REST API: a job is one workflow of one task, on whatever backend the server has.

executor.py    the protocol
server.py      the calls of the API, and what each answer means for its caller
names.py       the ids of a job's workflows, known without asking
polls.py       what Cromwell says of workflows, asked once for all who poll at a moment
arrivals.py    workflows that it does not tell of yet, waited for together
attributes.py  what a job was sent with and begun without, told to the site
directory.py   the directory of a call: its logs, and what SLURM said of its end
"""

from pman.executors.cromwell.executor import connect

__all__ = ["connect"]
