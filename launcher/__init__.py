"""compute-launcher: a multi-worker launcher for services that talk over oslo.messaging."""
