"""A module that reads an option when it is imported, as arguments of decorators do."""

from tests.functional.service.programs import common

WORD: str = common.CONF.word
