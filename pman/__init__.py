"""pman: renders job requests through templates into an engine's own documents, and runs them.

The modules beside this one are the ground (data, errors, settings, schema), which every folder may
import; the folders are layers, of which each imports only those below: `cli`, `web` and `workshop`,
`engine`, `translation`, `executors` (tests/test_architecture.py has the table). Begin with job.py, then
follow a request: web -> engine -> translation -> executors.
"""

from importlib.metadata import version

__version__ = version("pman")
