"""The pure library: parse, render, show, read, explain, applied. No connection, no asyncio.

Every layer above may import it; it imports the ground alone. Its door is Translation in translation.py, one
for an engine: begin there, then read render.py (a job becomes documents) and rules.py (a state, an answer).
"""
