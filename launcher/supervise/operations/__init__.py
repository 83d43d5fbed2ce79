"""Operations on a running service.

Here: reload, scaling, replacement, stop, the configuration in force. Never: the requests for them.
"""
