"""`config`: check the configuration, show the options in force, print a sample."""

import argparse
import io
from collections.abc import Iterator
from pathlib import Path

from oslo_config import cfg

from launcher.cli import common_options, deployment, versions
from launcher.cli.output import complain, print_line, print_text
from launcher.config import file_contents, loader, options, registered, unknown_options
from launcher.config.unknown_options import NAMESPACES
from launcher.directories import paths
from launcher.errors import UsageError
from launcher.serve import loading, manager_checks

THEIR_URL = "#transport_url = rabbit://\n"  # oslo.messaging's default; ours differs
OUR_URL = "#transport_url = unix://<runtime_path>/bus\n"
DEFAULTS = {
    THEIR_URL: OUR_URL,
    "#control_exchange = openstack\n": f"#control_exchange = {loader.EXCHANGE}\n",
}


def check(conf: cfg.ConfigOpts, args: argparse.Namespace) -> int:
    """Check what a start would check, beyond what loading has checked. Warn of unknown options.

    Raises the errors of a start.
    """
    manager = loading.manager_class(conf.manager, conf.prog)
    loading.check_use_of_conductor(conf, manager)
    loading.preload(conf)
    config_args = common_options.config_args(args)
    contents = file_contents.read(conf.prog, config_args)
    _check_directories(conf)
    if Path(conf.state_path).exists():  # a start makes it first
        loading.preload_manager(manager, conf.state_path)
    registered.check(conf)
    spacings = manager_checks.unknown_spacings(manager, conf.periodic_tasks.spacing)
    unknown = unknown_options.sentences(conf, contents)
    for sentence in (*spacings, *versions.untried(), *unknown):
        complain(conf.prog, f"warning: {sentence}")
    files = ", ".join(file_contents.files(conf.prog, config_args)) or "no file, defaults only"
    print_line(f"configuration is valid ({files})")
    return 0


def _check_directories(conf: cfg.ConfigOpts) -> None:
    loading.check_bus(conf, for_owner=True)
    for option in ("state_path", "runtime_path"):
        path = Path(conf[option])
        paths.check(option, path)
        if path.exists():
            paths.check_private(option, path, for_owner=True)
    paths.check_socket_room("runtime_path", Path(conf.runtime_path))


def show(conf: cfg.ConfigOpts, args: argparse.Namespace) -> int:
    """Print every option with its value in force, as a configuration file; or what fits them for
    what runs the service."""
    if args.platform:
        if getattr(args, "program", None):
            problem = "'config show --for' knows no command of a program; see compute-launcher(7)"
            raise UsageError(problem=problem)
        print_text(deployment.text(args.platform, conf, common_options.config_args(args)))
        return 0
    for line in _lines(conf):
        print_line(line)
    return 0


def sample(conf: cfg.ConfigOpts, args: argparse.Namespace) -> int:
    """Print etc/compute-launcher.conf.sample."""
    print_text(make_sample().rstrip("\n"))
    return 0


def make_sample() -> str:
    """The commented sample of all options, ours and the libraries', with our defaults."""
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
            if (group, opt.dest, value) == (None, "manager", None):
                value = loading.default_topic(conf.prog)  # the default
            yield f"{opt.dest} = {loader.shown(opt, value)}"
        yield ""


def _others(conf: cfg.ConfigOpts) -> list[cfg.Opt]:
    """Options of oslo.messaging to show."""
    return [cfg.StrOpt("transport_url", secret=True)]
