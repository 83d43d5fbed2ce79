"""The stacks of a worker that is aborted: whose they are, and whose fault."""

import sysconfig

from launcher.serve import stacks, worker

PYTHON = sysconfig.get_path("stdlib")
DUMP = f"""Thread 0x000000000000000a (most recent call first):
  File "{PYTHON}/threading.py", line 320 in wait
  File "{PYTHON}/site-packages/greenhouse/oven.py", line 12 in _wait_for_heat
  File "/srv/oven.py", line 7 in bake
  File "{worker.__file__}", line 210 in _perform

Thread 0x000000000000000b (most recent call first):
  File "{PYTHON}/threading.py", line 320 in wait

Current thread 0x000000000000000c (most recent call first):
  File "{worker.__file__}", line 110 in _on_call_of_the_master
"""
NAMES = {10: "task-bake\x1b[31m", 11: "pool-1", 12: "worker-main"}


def test_the_stuck_thread_is_named_and_marked_and_comes_first() -> None:
    told = stacks.arrange(DUMP, NAMES, 11).split("\n")
    assert told[0] == f"stuck: thread pool-1: {PYTHON}/threading.py, line 320 in wait"
    assert told[1] == "Thread 0x000000000000000b [pool-1] (STUCK, most recent call first):"
    assert told[4].startswith("Thread 0x000000000000000a [task-bake\\x1b[31m] (most recent")


def test_the_first_line_shows_the_code_of_the_application() -> None:
    first, *_ = stacks.arrange(DUMP, NAMES, 10).split("\n")
    assert first == (
        "stuck: thread task-bake\\x1b[31m: "
        f"{PYTHON}/site-packages/greenhouse/oven.py, line 12 in _wait_for_heat"
    )


def test_nothing_of_a_dump_is_left_out() -> None:
    for stuck in (None, 99, 10, 12):
        told = stacks.arrange(DUMP, {}, stuck)
        assert {line for line in DUMP.split("\n") if line.startswith("  File")} <= {
            *told.split("\n")
        }
    assert stacks.arrange("", {}, 1) == "\n"
    assert stacks.arrange("Fatal\nwords", {}, 1) == "Fatal\nwords\n"
