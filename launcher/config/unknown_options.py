"""Names in the configuration files that no option or section has: are they misspelt?"""

from collections.abc import Iterable
from difflib import get_close_matches
from importlib.metadata import entry_points

from oslo_config import cfg

from launcher.config import registered
from launcher.config.file_contents import OptionKey

NAMESPACES = ("launcher", "oslo.messaging", "oslo.log")  # of options that we or our libraries read
OF_THE_BUS = "oslo_messaging_"  # so do the sections of oslo.messaging begin
NEAR = 0.8  # of two names, by difflib: one is meant to be the other


def sentences(conf: cfg.ConfigOpts, found: Iterable[OptionKey]) -> list[str]:
    """A sentence for each unknown option in a known section, and for each unknown section that has
    nearly the name of a known one. Others may be a manager's.

    :param conf: with the options that are registered before the first fork.
    :param found: section and name of what the files set.
    """
    known = _names(registered.options(conf).items())
    rest = [key for key in found if _plain(key) not in known]
    sections = {section for section, _ in known}
    if any(_is_known(section, sections) for section, _ in rest):
        known |= _of_libraries()  # which register some of theirs in the workers
        sections = {section for section, _ in known}
    told = [
        _of_option(key, known) if _plain(key)[0] in sections else _of_section(key[0], sections)
        for key in rest
        if key[0] != "credential" and _plain(key) not in known
    ]
    return list(filter(None, dict.fromkeys(told)))


def _is_known(section: str, sections: set[str]) -> bool:
    name = _plain((section, ""))[0]
    return name in sections or name.startswith(OF_THE_BUS)


def _of_option(key: OptionKey, known: set[OptionKey]) -> str:
    section, name = _plain(key)
    near = get_close_matches(name, [other for place, other in known if place == section], 1, NEAR)
    hint = f"is {near[0]} meant?" if near else "is it misspelt?"
    return f"there is no option {key[1]} in [{key[0]}]; {hint}"


def _of_section(name: str, sections: set[str]) -> str:
    """A sentence, or "": no known section has nearly this name."""
    by_core = {section.removeprefix(OF_THE_BUS): section for section in sections}
    near = get_close_matches(name.lower().removeprefix(OF_THE_BUS), by_core, 1, NEAR)
    return f"there is no section [{name}]; is [{by_core[near[0]]}] meant?" if near else ""


def _of_libraries() -> set[OptionKey]:
    """All names of options that we and our libraries tell oslo.config's sample generator."""
    known: set[OptionKey] = set()
    for entry in entry_points(group="oslo.config.opts"):
        for group, opts in entry.load()() if entry.name in NAMESPACES else ():
            section = str(group or "DEFAULT")
            known |= _names(((section, opt.dest), opt) for opt in opts)
    return known


def _names(opts: Iterable[tuple[OptionKey, cfg.Opt]]) -> set[OptionKey]:
    """The names of options, the deprecated ones included."""
    known = {("DEFAULT", "config_source")}
    for (section, name), opt in opts:
        known.add(_plain((section, name)))
        known |= {
            _plain((old.group or section, old.name or opt.name)) for old in opt.deprecated_opts
        }
    return known


def _plain(key: OptionKey) -> OptionKey:
    """As oslo.config compares names."""
    section, name = key
    return section if section == "DEFAULT" else section.lower(), name.replace("-", "_")
