"""Text that the process writes: log lines, standard output, reports.

Here: writing without blocking, fit for a line. Never: the content of a message.
"""
