"""A program that runs when it is imported."""

from tests.functional.service.programs.oslo_program import main

main()
