"""`python -m package` runs it."""

from tests.functional.service.programs.kinds import at_once as main

if __name__ == "__main__":
    main()
