"""A worker: everything in this package runs after the fork."""
