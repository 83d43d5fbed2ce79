"""`completion`: a script for a shell, made from the grammar of the command line."""

import argparse

from launcher.cli import parser
from launcher.cli.output import print_text


def show(grammar: argparse.ArgumentParser, shell: str) -> int:
    """Print the script, for `source <(compute-launcher completion bash)` or a file."""
    import shtab  # noqa: PLC0415  # no other command needs it

    binary = grammar.prog
    name = parser.methods_function(binary)
    ask = f"{binary} methods --names 2>/dev/null"
    preamble = {
        "bash": f'{name}() {{ compgen -W "$({ask})" -- "$1"; }}\n',
        "zsh": f'{name}() {{ compadd -- ${{(f)"$({ask})"}} }}\n',
    }
    script = shtab.complete(grammar, shell=shell, preamble=preamble.get(shell, ""))
    print_text(script.rstrip("\n"))
    return 0
