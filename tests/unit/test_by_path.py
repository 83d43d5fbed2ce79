"""Files of the bus, runtime and state directories are reached from a descriptor: see `beneath`.

No other module creates, opens, renames or removes files by path, except those listed here.
"""

import ast
from collections.abc import Iterator

import pytest

from tests.unit.test_layers import read_sources

MODULES = {"shutil", "tempfile"}  # every function of theirs
FUNCTIONS = """
    os.open os.unlink os.remove os.rename os.renames os.replace os.link os.symlink os.mkdir
    os.makedirs os.rmdir os.removedirs os.mkfifo os.mknod os.truncate os.chmod os.chown os.lchown
    os.utime open io.open sqlite3.connect manhole.install
    """
ANY = frozenset(range(10))
OF_PATHS = """
    mkdir rmdir touch chmod lchmod symlink_to hardlink_to
    read_text read_bytes write_text write_bytes
    """
# Methods of Path and socket, with numbers of positional arguments: those of Beneath take others.
METHODS = {
    "open": {0, 1},
    "unlink": {0},
    "rename": {1},
    "replace": {1},
    "bind": {1},
    **dict.fromkeys(OF_PATHS.split(), ANY),
}

# Module, the functions that it calls with paths, and the reason.
ALLOWED = (
    ("directories.beneath", "os.link os.mkdir os.mkfifo os.open os.rename os.rmdir os.unlink bind",
     "below a descriptor: the module for that"),
    ("directories.system_calls", "os.open os.rename", "the same, for `beneath`"),
    ("directories.removal", "os.open os.rmdir os.unlink", "the same, for `beneath`"),
    ("unixbus.call_pipes", "os.open", "/proc/self/fd of a FIFO that is open"),
    ("unixbus.reply_address", "read_text", "/proc"),
    ("directories.ownership", "os.open open", "the path of a directory, part by part; /proc"),
    ("directories.mount_namespace", "mkdir chmod symlink_to",
     "in a file system that root has just made"),
    ("directories.paths", "tempfile.gettempdir tempfile.TemporaryFile tempfile.tempdir",
     "the directory of temporary files, which all users share"),
    ("directories.locations", "tempfile.gettempdir", "the same directory"),
    ("unixbus.sweeping", "os.utime", "of an open file"),
    ("unixbus.watchers", "os.utime", "likewise"),
    ("cli.control_connection", "os.open", "below a descriptor, by one name, without `beneath`"),
    ("cli.quick", "open", "configuration files, which lie elsewhere"),
    ("registry.sqlite", "sqlite3.connect", "SQLite takes paths; the file is checked first"),
    ("serve.backdoor", "manhole.install", "manhole takes paths"),
    ("dev.attempt", "read_bytes", "source files of modules"),
    ("config.file_contents", "read_text", "credentials of systemd, which lie elsewhere"),
    ("writing.nonblocking", "os.open", "our own stdout and stderr, in /proc"),
    ("supervise.processes.terminal", "os.open shutil.which", "/dev/tty; a program to name"),
    ("program.importing", "shutil.which", "a program to name"),
    ("program.finding", "shutil.which", "likewise"),
    ("program.files", "read_text", "as oslo.config does it, in its place"),
    ("compute.cgroups", "open", "/proc and /sys"),
    ("compute.cpuinfo", "read_text", "/proc"),
    ("serve.lead", "read_text", "/proc"),
    ("supervise.processes.deaths", "read_bytes", "/proc"),
    ("supervise.processes.orphans", "read_text", "/proc"),
    ("supervise.processes.memory_notes", "read_bytes", "/proc"),
    ("serve.invalid_calls", "bind", "arguments, to a signature"),
    ("supervise.operations.roll", "replace", "a worker, by another one"),
    ("supervise.operations.scaling", "replace", "likewise"),
    ("supervise.operations.touch_file", "os.open os.utime",
     "a file that the operator names, which lies elsewhere; no link at its end is followed"),
)  # fmt: skip


def uses(text: str) -> Iterator[str]:
    """The functions of a source that take paths; /dev/null does not count."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.ImportFrom):
            names = (f"{node.module}.{alias.name}" for alias in node.names)
            yield from filter(is_function, names)
        elif isinstance(node, ast.Attribute) and ast.unparse(node.value) == "Path":
            yield from {node.attr} & set(METHODS)
        elif isinstance(node, ast.Attribute) and is_function(ast.unparse(node)):
            yield ast.unparse(node)
        elif isinstance(node, ast.Call):
            yield from called(node)


def is_function(name: str) -> bool:
    module, dot, _ = name.partition(".")
    return name in FUNCTIONS.split() or (module in MODULES and dot == ".")


def called(call: ast.Call) -> Iterator[str]:
    if isinstance(call.func, ast.Name) and is_function(call.func.id):
        yield call.func.id
    if (
        isinstance(call.func, ast.Attribute)
        and not is_function(ast.unparse(call.func))
        and len(call.args) in METHODS.get(call.func.attr, ())
    ):
        yield call.func.attr


class Quiet(ast.NodeTransformer):
    """Leaves out calls with /dev/null."""

    def visit_Call(self, node: ast.Call) -> ast.AST:
        if node.args and ast.unparse(node.args[0]) == "os.devnull":
            return ast.Constant(None)
        return self.generic_visit(node)


def found(sources: dict[str, str]) -> set[tuple[str, str]]:
    trees = {name: Quiet().visit(ast.parse(text)) for name, text in sources.items()}
    return {(name, use) for name, tree in trees.items() for use in uses(ast.unparse(tree))}


def allowed() -> set[tuple[str, str]]:
    return {(f"launcher.{name}", use) for name, words, _ in ALLOWED for use in words.split()}


def test_only_what_is_listed_is_done_by_path() -> None:
    assert found({**read_sources()}) == allowed()


@pytest.mark.parametrize(
    ("planted", "use"),
    [
        ("os.unlink(path)", "os.unlink"),
        ("any(map(os.rename, olds, news))", "os.rename"),
        ("from os import mkdir", "os.mkdir"),
        ("from shutil import rmtree", "shutil.rmtree"),
        ("shutil.rmtree(path)", "shutil.rmtree"),
        ("with open(path) as file: pass", "open"),
        ("Path(runtime_path, 'x').unlink()", "unlink"),
        ("path.unlink(missing_ok=True)", "unlink"),
        ("path.rename(other)", "rename"),
        ("path.replace(other)", "replace"),
        ("path.write_text('x', encoding='utf-8')", "write_text"),
        ("path.open('w')", "open"),
        ("any(map(Path.unlink, paths))", "unlink"),
        ("sock.bind(str(path))", "bind"),
        ("os.open(path, os.O_RDONLY, dir_fd=descriptor)", "os.open"),
    ],
)
def test_a_planted_use_is_found(planted: str, use: str) -> None:
    assert found({"launcher.board.board": planted}) == {("launcher.board.board", use)}


@pytest.mark.parametrize(
    "harmless",
    [
        "directory.open(name, os.O_RDONLY)",
        "directory.unlink(name)",
        "directory.rename(old, new)",
        "directory.bind(name, socket.SOCK_DGRAM)",
        "text.replace('a', 'b')",
        "os.open(os.devnull, os.O_RDONLY)",
    ],
)
def test_what_goes_by_a_descriptor_is_let_be(harmless: str) -> None:
    assert found({"launcher.board.board": harmless}) == set()
