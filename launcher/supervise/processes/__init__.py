"""Starting and ending processes.

Here: forks, deaths, restarts, signals, orphaned processes. Never: an operator's request.
"""
