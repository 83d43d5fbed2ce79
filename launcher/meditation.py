"""The guru meditation report: what a process is doing, in full, for whoever has to find out why.

oslo.reports makes it, as in every OpenStack service: package, threads with their stacks,
processes, the configuration without its secrets; and sections of ours. Imported when somebody asks
for one.
"""

from collections.abc import Callable, Mapping

from oslo_reports.guru_meditation_report import TextGuruMeditation
from oslo_reports.models.base import ReportModel

from launcher import __version__

Sections = Mapping[str, Callable[[], str]]  # by title


class _Version:
    """What oslo.reports asks of a program."""

    def __init__(self, binary: str) -> None:
        self._binary = binary

    def vendor_string(self) -> str:
        return "compute-launcher"

    def product_string(self) -> str:
        return self._binary

    def version_string_with_package(self) -> str:
        return __version__


def report(binary: str, sections: Sections) -> str:
    """All of it, as text. In any thread of the process that it is about."""

    ours = [(title, _section(text)) for title, text in sections.items()]
    # Sections belong to a class there, for the whole process.
    kind = type("Report", (TextGuruMeditation,), {"persistent_sections": ours})
    return str(kind(_Version(binary)).run())


def _section(text: Callable[[], str]) -> Callable[[], ReportModel]:
    return lambda: ReportModel(attached_view=lambda _: text())
