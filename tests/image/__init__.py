"""The container image: built without a daemon, and run by a real runtime. `make image`."""
