"""The master: forks workers, watches the board, talks to systemd. Runs before and beside the forks."""
