"""`completion`: a script for the shell, made of the grammar of the command line."""

import argparse

from launcher.cli import parser
from launcher.cli.client import print_line


def show(binary: str, args: argparse.Namespace) -> int:
    """As `source <(compute-launcher completion bash)` or a file of the shell's takes it."""
    import shtab  # noqa: PLC0415  # for who asks for it only

    print_line(shtab.complete(parser.build(binary), shell=args.shell).rstrip("\n"))
    return 0
