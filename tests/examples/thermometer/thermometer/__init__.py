"""A thermometer for each host."""
