"""Tools for an author of templates: lint, golden files, ejected copies, and drift after an upgrade.

The command line imports it; the server never does, since it needs none of this, and it imports nothing but
`translation/` and the ground. Begin with `samples.py`, the jobs that templates are tried with, then `lint/`.
"""
