"""Directories: their default paths, their owners, and access to the files in them.

Here: opening without following links. Never: the content of the files.
"""
