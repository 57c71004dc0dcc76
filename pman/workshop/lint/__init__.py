"""`pman lint`: the mistakes in templates and rules that can be seen without an engine, by file and line.

The command line imports `run.py`, `findings.py` and `formats.py`; every check is a module that makes findings
and knows of no other. Begin with `run.py`, which calls them in their order.
"""
