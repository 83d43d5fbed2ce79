"""A real systemd as PID 1 of a container, and the service as it is installed."""
