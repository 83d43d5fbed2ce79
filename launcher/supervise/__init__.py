"""The master: forks workers, watches the board, talks to systemd; before and beside the forks."""
