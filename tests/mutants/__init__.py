"""Faults put into what judges, to try the unit tests: `make mutants`."""
