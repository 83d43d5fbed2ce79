"""The registry: which services and hosts exist, behind one interface."""
