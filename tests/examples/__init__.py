"""Small services to copy from, one a folder; each is run by a test as its README.md says."""
