"""The guru meditation report: a text that shows in full what a process is doing.

oslo.reports makes it, as in every OpenStack service: package, threads with their stacks,
processes, configuration without secrets. We add sections. Imported only for a report.
"""

from collections.abc import Callable, Mapping
from typing import Any

from oslo_reports.guru_meditation_report import TextGuruMeditation
from oslo_reports.models.base import ReportModel

from launcher import __version__
from launcher.exception_text import reason
from launcher.foreign_text import fit_block

Sections = Mapping[str, Callable[[], str]]  # by title


class _Version:
    """The version of the program, as oslo.reports calls for it."""

    def __init__(self, binary: str) -> None:
        self._binary = binary

    def vendor_string(self) -> str:
        return "compute-launcher"

    def product_string(self) -> str:
        return self._binary

    def version_string_with_package(self) -> str:
        return __version__


class _Report(TextGuruMeditation):
    """A part that cannot be made says why, and takes no other with it. oslo.reports 3.9.0 gives up
    the whole report: after one wrong option, which nobody has read, there are no stacks."""

    def add_section(
        self, heading: Any, generator: Callable[[], Any], index: int | None = None
    ) -> None:
        super().add_section(heading, _whole(generator), index)


def report(binary: str, sections: Sections) -> str:
    """The whole report. Called in the process that it describes, in any thread."""

    ours = [(title, _section(text)) for title, text in sections.items()]
    # In oslo.reports sections belong to a class, and so to the whole process.
    kind = type("Report", (_Report,), {"persistent_sections": ours})
    return "\n".join(fit_block(str(kind(_Version(binary)).run())))


def _whole(generator: Callable[[], Any]) -> Callable[[], Any]:
    def made() -> Any:
        try:
            return generator()
        except Exception as error:  # noqa: BLE001  # any: options, threads, the sections of ours
            return _model(f"cannot be made: {reason(error)}")

    return made


def _section(text: Callable[[], str]) -> Callable[[], ReportModel]:
    return lambda: _model(text())


def _model(text: str) -> ReportModel:
    return ReportModel(attached_view=lambda _: text)
