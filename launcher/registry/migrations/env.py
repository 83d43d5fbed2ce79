"""Executed by alembic for each upgrade: see schema_upgrade, which has begun a transaction and
holds the lock. Nothing else imports it."""

from alembic import context

context.configure(connection=context.config.attributes["connection"])
context.run_migrations()
