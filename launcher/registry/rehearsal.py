"""What a worker does first with its database, gone through in the master before the first fork.

Nothing is opened. What SQLAlchemy works out on a first use, and keeps, lies then in pages that all
workers share: it saves each of them some milliseconds of its start.
"""

from sqlalchemy import URL

from launcher.registry import store
from launcher.registry.engine import make_engine


def rehearse(url: URL, shown: str) -> None:
    """Make an engine for `url`, compile the first statements for it, and forget it.

    Raises DatabaseUnusable when no engine can be made.
    """
    engine, _ = make_engine(url, shown)
    for statement in store.first_statements():
        statement.compile(dialect=engine.dialect)
