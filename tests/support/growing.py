"""Reading a file to which others write meanwhile."""

from pathlib import Path


def whole_lines(path: Path) -> list[str]:
    """Those with an end; none where there is no file yet.

    Linux copies what is written page by page, so that who reads sees a line that crosses the end
    of a page in part for a moment, and a writer that is killed then leaves it so.
    """
    text = path.read_text() if path.exists() else ""
    return text.split("\n")[:-1]
