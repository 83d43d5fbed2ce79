"""Runs before any test module is imported."""

from launcher import native_threads

native_threads.require()
