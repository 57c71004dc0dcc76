"""The command line: `pman` and its commands, a module each.

Here is what a command takes and how it shows what it found; the work is done below, in `web/`,
`workshop/`, `engine/`, `translation/` and `executors/`, and nothing imports this but `python -m pman`. A
command's module is imported when the command is called, so `pman --help` answers at once. Begin with the
table in main.py, then read run.py.
"""
