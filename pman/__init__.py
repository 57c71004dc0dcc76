"""pman: renders job requests through templates into an engine's own documents, and runs them."""

from importlib.metadata import version

__version__ = version("pman")
