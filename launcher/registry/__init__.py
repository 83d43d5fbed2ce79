"""The registry: the services and hosts that exist, behind one interface.

Here: tables, statements, records, errors of databases. Never: when a service reports.
"""
