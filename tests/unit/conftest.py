"""How many examples Hypothesis generates: 25 where a person waits, a hundred where CI is set.

Whoever wants more says so: pytest tests/unit --hypothesis-profile=default.
"""

import os

from hypothesis import settings

settings.register_profile("waited-for", max_examples=25)
if not os.environ.get("CI"):
    settings.load_profile("waited-for")
