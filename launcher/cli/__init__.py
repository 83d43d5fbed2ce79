"""The command line: one module for each family of commands; `main` picks the command.

Here: grammar, requests to a running service, screens. Never: what a service does.
"""
