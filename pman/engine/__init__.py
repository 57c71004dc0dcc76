"""One engine at work: a translation, which is pure, and an executor, which is not, put together.

Here is what happens to a job between a request and the engine: submission, reading, caching, the end of
what is overdue, the feed of changes, previews. `web/` and `cli/` import it; it imports `translation/` and
`executors/`. Begin with `Engine` in engine.py: each of its methods leads to the module that does the
work.
"""
