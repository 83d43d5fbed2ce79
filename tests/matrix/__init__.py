"""The suites on bare roots of several Debians, and a table of it: `make matrix`."""
