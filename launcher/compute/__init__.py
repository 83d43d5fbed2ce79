"""The compute service: a manager that measures its host and answers calls about it.

Here: measurements of the host, and RPC methods. Never: what another manager would need, too.
"""
