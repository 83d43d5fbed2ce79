"""Which objects become immortal, and which are freed as ever. Each script has its own process."""

import subprocess
import sys
import sysconfig
from pathlib import Path
from shutil import which

import pytest

from launcher.supervise.processes import shared_heap
from launcher.supervise.processes.shared_heap import (
    FIRST,
    LAST,
    NOT_BUILT,
    SharedHeap,
    why_not,
)

ROOT = Path(__file__).parents[2]
KNOWN = FIRST <= sys.version_info[:2] <= LAST and not (
    sysconfig.get_config_var("Py_GIL_DISABLED") or sysconfig.get_config_var("Py_DEBUG")
)
BEGINNING = """
import gc, os, sys
gc.disable()
from launcher.supervise.processes.shared_heap import SharedHeap
heap = SharedHeap()

def immortal(*objects):
    return [sys.getrefcount(one) >= 2**31 for one in objects]
"""


def run(text: str) -> str:
    """What the script prints. It has to end by itself, with all that Python does at its end."""
    command = [sys.executable, "-X", "faulthandler", "-c", BEGINNING + text]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def test_the_module_in_c_is_there_wherever_it_can_be_built() -> None:
    """An optional one is left out in silence, also because of a mistake in it."""
    header = Path(sysconfig.get_path("include"), "Python.h")
    compiler = which((sysconfig.get_config_var("CC") or "cc").split()[0])
    if not KNOWN:
        assert "is" in why_not()
    elif header.exists() and compiler:
        assert why_not() == ""
    else:
        assert "was not built" in why_not()


def test_the_heap_is_frozen_and_the_collector_is_on() -> None:
    told = run("heap.share(immortal=False); print(heap.immortal, gc.isenabled())")
    assert told == "0 True\n"
    told = run("heap.share(immortal=True); print(heap.immortal > 9999, gc.get_freeze_count() > 0)")
    assert told == f"{not why_not()} True\n"


def test_somebody_is_told_why_none_is_immortal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.version_info", (3, 11, 7, "final", 0))
    assert why_not() == "objects can be made immortal on Python 3.12 to 3.14, and this is 3.11"


def test_an_operator_who_can_mend_it_is_told_in_the_log(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(shared_heap, "why_not", lambda: NOT_BUILT)
    monkeypatch.setattr("gc.freeze", lambda: None)
    with caplog.at_level("INFO"):
        SharedHeap().share(immortal=True)
    assert NOT_BUILT in caplog.text


if not why_not():

    def test_all_that_the_collector_knows_is_immortal_but_for_what_has_to_be_freed() -> None:
        told = run("""
import asyncio, email.message, http.server, logging, sqlite3, unittest
heap.share(immortal=True)
gc.unfreeze()
left = {type(one).__name__ for one in gc.get_objects() if immortal(one) == [False]}
print(*sorted(left))
""")
        assert set(told.split()) <= {"BufferedReader", "BufferedWriter", "TextIOWrapper", "FileIO"}

    def test_what_the_collector_does_not_know_is_immortal_too() -> None:
        told = run("""
def function(argument="a default" * 2):
    "A docstring."
    local = ("a text", 123456789, 1.5, b"bytes", ("a tuple", 2.5))
    return lambda: (local, argument in {"a member", "another one"}, 987654321)

class Class:
    attribute = {"a key " + str(len(sys.path)): [2**70 + len(sys.path)], 7**20: -1}

heap.share(immortal=True)
code, (key, number) = function.__code__, Class.attribute
parts = [code, *code.co_consts, *code.co_names, code.co_linetable, code.co_filename]
inner = next(one for one in code.co_consts if type(one) is type(code))
texts = next(one for one in code.co_consts if type(one) is tuple)
members = next(one for one in inner.co_consts if type(one) is frozenset)
parts += [*inner.co_consts, *texts, *texts[4], *members, inner.co_qualname]
parts += [Class.__name__, Class.__qualname__, key, number, Class.attribute[key][0]]
parts += function.__defaults__
print(all(immortal(*parts)), len(parts) > 20)
""")
        assert told == "True True\n"

    def test_what_closes_or_ends_something_when_it_is_freed_does_so() -> None:
        told = run("""
import mmap, select, socket

class Ends:
    def __del__(self):
        print("__del__")

def generate():
    try:
        yield
    finally:
        print("finally")

ends, generator = Ends(), generate()
next(generator)
try:
    raise ValueError
except ValueError as error:
    kept = error
mapped = os.memfd_create("mapped")
os.ftruncate(mapped, 1)
opened = {
    "file": open("/dev/null"),
    "entries": os.scandir("/"),
    "socket": socket.socket(),
    "epoll": select.epoll(),
    "mmap": mmap.mmap(mapped, 1),
}
heap.share(immortal=True)
print(*immortal(ends, generator, kept, kept.__traceback__, kept.__traceback__.tb_frame))
del ends, generator, kept

def descriptors():
    return set(os.listdir("/proc/self/fd"))

for name in list(opened):
    before = descriptors()
    del opened[name]
    print(name, len(before - descriptors()))
""")
        assert (
            told
            == """\
False False False False False
__del__
finally
file 1
entries 1
socket 1
epoll 1
mmap 1
"""
        )

    def test_a_process_goes_on_as_ever_and_its_fork_too() -> None:
        told = run("""
import json, threading, weakref
held = {"list": [], "text": "text" * len(sys.path), "count": 10**9}
cached = weakref.WeakValueDictionary()

def work():
    held["list"] += [json.loads(json.dumps({"text": held["text"], "more": held["count"] + 1}))]
    held["text"] += sys.intern(held["text"] + "interned")
    held["count"] *= 3
    cached["new"] = new = type("New", (), {"count": held["count"]})()
    thread = threading.Thread(target=lambda: held["list"].append(new.count))
    thread.start()
    thread.join()
    del new, thread
    gc.collect()
    return len(cached), len(held["list"])

heap.share(immortal=True)
child = os.fork()
print(work(), work(), flush=True)
if child:
    assert os.waitpid(child, 0)[1] == 0
""")
        assert told == 2 * "(0, 2) (0, 4)\n"

    def test_a_fork_writes_to_no_page_for_a_reference() -> None:
        """Without it this copies the pages of all the objects."""
        told = run("""
held = [(str(number), [float(number)]) for number in range(200_000)]

def own():
    with open("/proc/self/smaps_rollup") as file:
        return sum(int(line.split()[1]) for line in file if line.startswith("Private_Dirty"))

heap.share(immortal=True)
if child := os.fork():
    assert os.waitpid(child, 0)[1] == 0
else:
    before = own()
    for one in held:
        text, numbers = one
        more = (text, numbers)
    print(own() - before < 500)
""")
        assert told == "True\n"
