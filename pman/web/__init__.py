"""The server: HTTP in front of one engine.

`api/` answers programs and `page/` people; app.py puts both together, asgi.py stands before them and
server.py serves them. Only `cli/` imports it; it imports `engine/` and `translation/`, and needs neither
`workshop/` nor `cli/`. Begin with `create_app` in app.py, then follow a POST from api/v1.py.
"""
