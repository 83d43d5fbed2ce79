"""The development mode: a watcher that starts the service anew when a source file is saved.

Nothing of it is imported without --dev, and nothing of the service's behaviour is decided here.
"""
