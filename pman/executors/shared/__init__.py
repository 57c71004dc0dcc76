"""Parts that more than one executor needs: HTTP, tasks, tables, files, and nothing of one engine.

Executors import it, and `engine/` its tasks and tables; it imports no executor. Begin with `tasks.py`, by
which many callers share one call to an engine.
"""
