"""A worker: everything in this package runs after the fork, unless its docstring says otherwise.

Here: the start sequence, the drain, RPC servers, periodic tasks, the base class of managers.
Never: code that only the master needs, or that reads the master's state.
"""
