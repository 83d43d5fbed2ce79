"""The peers that ours is measured beside: each a small, fair service of the same kind."""
