"""Foreign programs (`--program`), built on oslo.service or cotyledon, and run as they are.

The master imports the program's module. Its `main()` runs in each worker, after the fork. Nothing
in this package, nor below it, may name a project: programs differ only in what they import.
"""
