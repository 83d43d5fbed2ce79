"""The master's HTTP server, and the routes behind it.

Here: sockets, requests, health checks, status, metrics. Never: the operations themselves.
"""
