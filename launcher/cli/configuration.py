"""`config`: check it, show what is in force, print a sample."""

import argparse
import io
import sys
from collections.abc import Iterable, Iterator
from importlib.metadata import entry_points
from pathlib import Path

from oslo_config import cfg

from launcher import config, contents, options, paths
from launcher.cli import parser
from launcher.cli.client import print_line
from launcher.contents import Place
from launcher.serve import loading

NAMESPACES = ("launcher", "oslo.messaging", "oslo.log")
THEIR_URL = "#transport_url = rabbit://\n"  # oslo.messaging's default, which config.load replaces
OUR_URL = "#transport_url = unix://<runtime_path>/bus\n"
DEFAULTS = {
    THEIR_URL: OUR_URL,
    "#control_exchange = openstack\n": f"#control_exchange = {config.EXCHANGE}\n",
}


def check(conf: cfg.ConfigOpts, args: argparse.Namespace) -> int:
    """Reading it has checked most; the rest is what a start would check."""
    loading.manager_class(conf.manager, conf.prog)
    loading.preload(conf)
    for option in ("state_path", "runtime_path"):
        paths.check(option, Path(conf[option]))
    runtime_path = Path(conf.runtime_path)
    paths.check_socket_room("runtime_path", runtime_path)
    if runtime_path.exists():
        paths.check_private("runtime_path", runtime_path)
    for section, name in _unknown(contents.read(conf.prog, parser.config_args(args))):
        warning = f"warning: nobody here knows the option {name} of [{section}]; is it misspelt?"
        sys.stderr.write(f"{conf.prog}: {warning}\n")
    files = ", ".join(conf.config_file or []) or "no file, defaults only"
    print_line(f"configuration is valid ({files})")
    return 0


def _unknown(places: Iterable[Place]) -> list[Place]:
    """Of sections that we or our libraries have: others may be a manager's."""
    known, sections = set(), {"DEFAULT"}
    for entry in entry_points(group="oslo.config.opts"):
        for group, opts in entry.load()() if entry.name in NAMESPACES else ():
            section = str(group or "DEFAULT")
            sections.add(section)
            for opt in opts:
                known.add((section, opt.dest))
                known |= {
                    (old.group or section, old.name or opt.name) for old in opt.deprecated_opts
                }
    known = {(section, name.replace("-", "_")) for section, name in known}
    return [
        (section, name)
        for section, name in places
        if section in sections and (section, name.replace("-", "_")) not in known
    ]


def show(conf: cfg.ConfigOpts, args: argparse.Namespace) -> int:
    """Every option with the value in force, in the form of a configuration file."""
    for line in _lines(conf):
        print_line(line)
    return 0


def sample(conf: cfg.ConfigOpts, args: argparse.Namespace) -> int:
    """What etc/compute-launcher.conf.sample holds."""
    print_line(make_sample().rstrip("\n"))
    return 0


def make_sample() -> str:
    """The commented sample of all options, ours and the libraries', with our defaults of these."""
    from oslo_config import generator  # noqa: PLC0415  # imports docutils and yaml

    generator_conf = cfg.ConfigOpts()
    generator.register_cli_opts(generator_conf)
    generator_conf(
        [*(f"--namespace={name}" for name in NAMESPACES), "--wrap-width=79"],
        default_config_files=[],
        default_config_dirs=[],
    )
    output = io.StringIO()
    generator.generate(generator_conf, output)
    text = output.getvalue()
    for theirs, ours in DEFAULTS.items():
        text = text.replace(theirs, ours)
    return text


def _lines(conf: cfg.ConfigOpts) -> Iterator[str]:
    known = {group: list(opts) for group, opts in options.list_opts()}
    known[None] = [*known[None], *_others(conf)]
    for group, opts in known.items():
        yield f"[{group or 'DEFAULT'}]"
        for opt in sorted(opts, key=lambda opt: str(opt.dest)):
            value = conf[group][opt.dest] if group else conf[opt.dest]
            yield f"{opt.dest} = {config.shown(opt, value)}"
        yield ""


def _others(conf: cfg.ConfigOpts) -> list[cfg.Opt]:
    """Options of oslo.messaging that matter to a reader."""
    return [cfg.StrOpt("transport_url", secret=True)]
