"""What the master and its workers share at run time: words in shared memory, and a bell.

Here: the board, its slots, the counters, the states. Never: code that judges them or acts on them.
"""
