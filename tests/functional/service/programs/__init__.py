"""Small foreign programs, as their authors would write them: they know nothing of the launcher."""
