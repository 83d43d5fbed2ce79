"""compute-launcher: a multi-worker launcher for services that talk over oslo.messaging."""

__version__ = "0.2.0"
