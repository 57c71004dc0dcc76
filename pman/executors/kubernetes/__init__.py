"""The Kubernetes API, for any documents of which one is a Job by the job's name.

executor.py     the protocol: a job is one Job
objects.py      create documents in order, as one: owned by the Job, taken back where one is refused
fields.py       which fields of a document an object has
kinds.py        which path of the API a kind of document has
state.py        a Job with its pods and events, asked now; what pods tell of their containers
memory.py       the same, remembered
watch.py        list and watch, which keep the memory up to date
logs.py         the logs of all pods of a Job
removal.py      delete a Job and see its processes end; end a Job and keep it
permissions.py  what pman may do in the namespace, and whether it is there
api.py          HTTP over one kept-alive pool
access.py       where the API server is, and the credentials
"""

from pman.executors.kubernetes.executor import connect

__all__ = ["connect"]
