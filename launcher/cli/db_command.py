"""`db`: create or upgrade the tables in the database, check them, list the schemas."""

import argparse
from collections.abc import Mapping
from functools import cache
from typing import NamedTuple

from oslo_config import cfg

from launcher.cli.output import print_json, print_line
from launcher.config.masking import mask_url
from launcher.errors import DatabaseUnusable, OptionError
from launcher.registry.service_version import SERVICE_VERSION

MOST_HOSTS = 20  # that a line names
OPERATION_SECONDS = 600.0  # in which a server does each operation of an upgrade


class Step(NamedTuple):
    """A schema; `state` is "applied", "current" or "pending" in the database."""

    schema: str
    state: str
    description: str


def require_database(conf: cfg.ConfigOpts) -> None:
    """Raise OptionError on a host without a database."""
    if conf.database.use_conductor:
        problem = "this host has no database; run the command where a conductor-launcher runs"
        raise OptionError(option="[database] use_conductor", problem=problem)


def found(conf: cfg.ConfigOpts) -> str | None:
    """The name of the database's schema; None: there is none. Changes nothing."""
    from launcher.registry import engine  # noqa: PLC0415  # imports SQLAlchemy

    return engine.schema_of(conf.database.connection)


def upgrade(conf: cfg.ConfigOpts, args: argparse.Namespace) -> int:
    """Create the tables, or upgrade them."""
    from launcher.registry import schema  # noqa: PLC0415  # imports SQLAlchemy

    before = bring_up(conf.database.connection)
    if schema.judge(before) is schema.Fit.FITS:
        _tell(conf, f"the schema is {before}, nothing to do")
    else:
        _tell(conf, f"the schema is {schema.NEEDED} now, and was {before or 'none'}")
    return 0


def bring_up(url: str) -> str | None:
    """Upgrade the schema of a database, if need be; return the name of the one found. An embedded
    database is opened, as a start does. Errors as those of `open_database`."""
    from launcher.registry import engine, urls  # noqa: PLC0415  # imports SQLAlchemy

    if urls.parse(url).get_backend_name() == "sqlite":
        before = engine.schema_of(url)
        engine.open_database(url).close()
        return before
    from launcher.registry import schema_upgrade  # noqa: PLC0415  # imports alembic

    database = engine.make_database(url, OPERATION_SECONDS)
    try:
        return database.upgrade(schema_upgrade.upgrade_server)
    finally:
        database.close()


def check(conf: cfg.ConfigOpts, args: argparse.Namespace) -> int:
    """Say whether a start finds its tables, and which hosts hold back a migration.

    :raises DatabaseUnusable: it does not find them.
    """
    from launcher.registry import schema, urls  # noqa: PLC0415  # imports SQLAlchemy

    url, name = conf.database.connection, found(conf)
    fit, oldest = schema.judge(name), _oldest_versions(url, name)
    makes_its_own = urls.parse(url).get_backend_name() == "sqlite" and fit in schema.UPGRADED
    fault = None if makes_its_own else schema.fault(name)
    if args.json:
        print_json(
            {
                "database": mask_url(url),
                "schema": name,
                "needed": schema.NEEDED,
                "fault": fault,
                "service_version": max([SERVICE_VERSION, *oldest.values()]),
                "held_back_by": [
                    {"host": host, "service_version": version}
                    for host, version in _held_back(oldest).items()
                ],
            }
        )
    else:
        if makes_its_own:
            _tell(conf, f"the schema is {name or 'none'}; a start brings {schema.NEEDED}")
        elif not fault:
            _tell(conf, f"the schema is {name}, and fits")
        if held := _held_back(oldest):
            _tell(conf, _shown(held))
    if fault:
        raise DatabaseUnusable(url=mask_url(url), reason=fault)
    return 0


def _oldest_versions(url: str, name: str | None) -> dict[str, int]:
    """The lowest service version of each host, the oldest first; empty without a usable table."""
    from launcher.registry import engine, schema  # noqa: PLC0415  # imports SQLAlchemy

    return engine.oldest_versions_of(url) if schema.has_service_versions(name) else {}


def _held_back(oldest: Mapping[str, int]) -> dict[str, int]:
    """The hosts on which an older service is registered than this program or another host has."""
    newest = max([SERVICE_VERSION, *oldest.values()])
    return {host: version for host, version in oldest.items() if version < newest}


def _shown(held: Mapping[str, int]) -> str:
    some = [f"{host} ({version})" for host, version in list(held.items())[:MOST_HOSTS]]
    more = f" and {len(held) - len(some)} more (--json shows all)" if len(held) > len(some) else ""
    return (
        "these hosts hold back a migration, by the service version in brackets; upgrade them, or "
        f"delete the services that are gone: {', '.join(some)}{more}"
    )


def history(conf: cfg.ConfigOpts, args: argparse.Namespace) -> int:
    """List the schemas, the newest first."""
    steps = _steps(found(conf))
    if args.json:
        print_json([step._asdict() for step in steps])
        return 0
    for step in (Step("schema", "state", "description"), *steps):
        print_line(f"{step.schema:14}  {step.state:7}  {step.description}")
    return 0


def preload(command: str) -> None:
    """Import what a command needs of alembic. Called before root becomes the owner of a database,
    who may not be able to read the modules."""
    if command in {"db upgrade", "db history"}:
        _revisions()


@cache
def _revisions() -> list[tuple[str, str]]:
    """The name of each schema that this program knows, the newest first, and what it brings."""
    from alembic.script import ScriptDirectory  # noqa: PLC0415  # only for these commands

    from launcher.registry import schema_upgrade  # noqa: PLC0415  # imports SQLAlchemy

    directory = ScriptDirectory.from_config(schema_upgrade.config())
    return [(one.revision, one.doc) for one in directory.walk_revisions()]


def _steps(current: str | None) -> list[Step]:
    steps = [Step(name, _state(name, current), doc) for name, doc in _revisions()]
    if current and current not in {step.schema for step in steps}:
        steps.insert(0, Step(current, "current", "(this program does not know it)"))
    return steps


def _state(name: str, current: str | None) -> str:
    if name == current:
        return "current"
    return "applied" if current and name < current else "pending"


def _tell(conf: cfg.ConfigOpts, what: str) -> None:
    print_line(f"database {mask_url(conf.database.connection)}: {what}")
