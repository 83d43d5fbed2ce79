"""The conductor: serves the registry to hosts that have no database.

Here: its manager, the client side, and what crosses the bus between them. Never: SQL.
"""
