"""What more than one executor needs, and no engine's own: HTTP, tasks, tables, files.

Executors import it, and `engine/` its tasks and tables; it imports no executor. Begin with `tasks.py`, by
which many callers share one call to an engine.
"""
