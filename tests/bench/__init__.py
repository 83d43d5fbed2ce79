"""Measurements, which assert nothing: run by hand."""
