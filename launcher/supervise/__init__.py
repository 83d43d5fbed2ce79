"""The master process: it forks workers, watches the board, and talks to systemd.

Four packages, each built on those before it: watch, processes, operations, control. `master`
joins them. Never: code that runs in a worker.
"""
