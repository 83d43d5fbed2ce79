"""Vendor, model and features of the processors, by /proc/cpuinfo of each architecture."""

import os
from pathlib import Path

_MODEL = ("model name", "cpu model", "cpu", "uarch", "cpu part", "machine")
_VENDOR = ("vendor_id", "cpu implementer", "mvendorid")
_FEATURES = ("flags", "features", "isa")


def read(root: Path = Path("/")) -> dict[str, object]:
    """`parse` this machine's file. A file that cannot be read counts as empty.

    :param root: directory that has /proc.
    """
    try:
        text = (root / "proc/cpuinfo").read_text("utf-8", errors="replace")
    except OSError:
        text = ""
    return parse(text, os.uname().machine)


def parse(text: str, machine: str) -> dict[str, object]:
    """Return arch, vendor, model, features and topology, as nova names them. What the file does
    not say is "unknown" or empty. All processors are taken to be alike."""
    processors = [_fields(block) for block in text.split("\n\n") if "processor" in block]
    first = processors[0] if processors else _fields(text)
    return {
        "arch": machine,
        "vendor": _first(first, _VENDOR) or "unknown",
        "model": _first(first, _MODEL) or "unknown",
        "features": sorted(set(_first(first, _FEATURES).split())),
        "topology": _topology(processors, first),
    }


def _topology(processors: list[dict[str, str]], first: dict[str, str]) -> dict[str, int]:
    """Sockets, cores in each, threads in each core. By default one thread in each core."""
    sockets = len({fields.get("physical id", "0") for fields in processors}) or 1
    siblings = _count(first, "siblings") or max(1, len(processors) // sockets)
    cores = _count(first, "cpu cores") or siblings
    return {"sockets": sockets, "cores": cores, "threads": max(1, siblings // cores)}


def _fields(block: str) -> dict[str, str]:
    pairs = (line.partition(":") for line in block.splitlines())
    return {name.strip().lower(): value.strip() for name, _, value in pairs}


def _first(fields: dict[str, str], names: tuple[str, ...]) -> str:
    return next((fields[name] for name in names if fields.get(name)), "")


def _count(fields: dict[str, str], name: str) -> int:
    text = fields.get(name, "")
    return int(text) if text.isascii() and text.isdecimal() else 0
