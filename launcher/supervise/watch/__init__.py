"""Watching the workers.

Here: the monitor's rounds, its verdicts, the messages to systemd. Never: a fork, an HTTP request.
"""
