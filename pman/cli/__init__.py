"""The commands of cli.py, one module each; each is imported when its command runs."""
