"""Real programs of OpenStack, from PyPI, under the launcher: `make programs`."""
