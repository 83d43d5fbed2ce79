"""The processors' make, as different architectures put it."""

from pathlib import Path

import pytest

from launcher.compute import cpuinfo

X86 = """\
processor\t: {n}
vendor_id\t: GenuineIntel
model name\t: Intel(R) Xeon(R) Gold 6338 CPU @ 2.00GHz
physical id\t: {socket}
siblings\t: 4
cpu cores\t: 2
flags\t\t: fpu vme sse avx
power management:

"""
ARM = """\
processor\t: {n}
BogoMIPS\t: 50.00
Features\t: fp asimd evtstrm
CPU implementer\t: 0x41
CPU part\t: 0xd0c

"""
POWER = "processor\t: {n}\ncpu\t\t: POWER9, altivec supported\n\n"
S390 = """\
vendor_id       : IBM/S390
# processors    : 2
features\t: esan3 zarch
processor 0: version = FF,  identification = 133A08,  machine = 8561
processor 1: version = FF,  identification = 133A08,  machine = 8561

"""
RISCV = "processor\t: {n}\nhart\t\t: 0\nisa\t\t: rv64imafdc\nuarch\t\t: sifive,u74-mc\n\n"

CASES = {
    "x86_64": (
        "".join(X86.format(n=n, socket=n // 4) for n in range(8)),
        "GenuineIntel",
        "Intel(R) Xeon(R) Gold 6338 CPU @ 2.00GHz",
        ["avx", "fpu", "sse", "vme"],
        (2, 2, 2),
    ),
    "aarch64": (
        "".join(ARM.format(n=n) for n in range(4)),
        "0x41",
        "0xd0c",
        ["asimd", "evtstrm", "fp"],
        (1, 4, 1),
    ),
    "ppc64le": (
        "".join(POWER.format(n=n) for n in range(2)) + "timebase\t: 512000000\n",
        "unknown",
        "POWER9, altivec supported",
        [],
        (1, 2, 1),
    ),
    "s390x": (S390, "IBM/S390", "unknown", ["esan3", "zarch"], (1, 1, 1)),
    "riscv64": (RISCV.format(n=0), "unknown", "sifive,u74-mc", ["rv64imafdc"], (1, 1, 1)),
    "empty": ("", "unknown", "unknown", [], (1, 1, 1)),
    "garbled": (
        "processor\n: :\n\n\ncpu cores : x\nsiblings : -1",
        "unknown",
        "unknown",
        [],
        (1, 1, 1),
    ),
}


@pytest.mark.parametrize("machine", CASES)
def test_each_architecture_has_its_words(machine: str) -> None:
    text, vendor, model, features, (sockets, cores, threads) = CASES[machine]

    assert cpuinfo.parse(text, machine) == {
        "arch": machine,
        "vendor": vendor,
        "model": model,
        "features": features,
        "topology": {"sockets": sockets, "cores": cores, "threads": threads},
    }


def test_a_file_that_cannot_be_read_tells_nothing(tmp_path: Path) -> None:
    assert cpuinfo.read(tmp_path)["model"] == "unknown"


def test_this_machine_has_an_architecture() -> None:
    assert cpuinfo.read()["arch"]
