"""The inventory lists templates and rules for people who read, change and document them.

`cli/`, the page, the API and `workshop/` show it; nothing that makes or reads a job needs it. Begin with
`inventory.engines` and `inventory.find`; `blocks.py` says which block stands in whose place, `docs.py` what a
template is given, `record.py` what a site's block was made from.
"""
