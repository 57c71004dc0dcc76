"""The API: v1, as the platform has always known it, and v2 for people's tools, with its description.

Each route parses its parameters (params.py, listing.py), asks the engine once, and answers; errors become
answers in answers.py and nowhere else. app.py and the page import it; it imports `engine/` and
`translation/`. Begin with v1.py, which has a job's whole life in five routes.
"""
