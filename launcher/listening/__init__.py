"""Parts that the listeners of both buses share.

Here: the limit of unfinished calls, and the check that a server still listens. Never: a bus.
"""
