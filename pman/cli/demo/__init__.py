"""`pman demo`: a real job on the best engine that answers, from its request to its files.

story.py    the course of it
engines.py  which engines answer, and with which image
server.py   the pman that it starts
input.py    what the job reads
plugin.py   what the job runs where there are no containers
screen.py   what one sees
"""
