"""`pman demo`: a real job on the best engine that answers, from its request to its files.

It starts a server of its own and speaks to it as any client does, so it imports `cli/client.py` and
`cli/terminal.py`, and asks `executors/` only where an engine is; nothing but the table of commands leads
here. engines.py finds the engine and the image, input.py writes what the job reads, plugin.py is what
runs where there are no containers, and screen.py is what one sees. Begin with story.py, which is the
course of it.
"""
