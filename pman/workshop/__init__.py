"""What a template author works with. Pure: the commands print it, the API serves it, the page shows it."""
