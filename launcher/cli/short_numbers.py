"""Ages and amounts that fit a narrow column of a table."""

AGES = ((86400, "d"), (3600, "h"), (60, "m"), (1, "s"))


def age(seconds: float | None) -> str:
    """Seconds as at most four characters: 59s, 99m, 47h, 999d. "-" for None."""
    if seconds is None:
        return "-"
    for size, unit in AGES:
        if seconds >= 2 * size or size == 1:
            return f"{seconds // size:.0f}{unit}"
    return "0s"


def amount(number: int | None, base: int = 1000) -> str:
    """A number as at most five characters: 9999, 12.3M. "-" for None."""
    if number is None:
        return "-"
    if number < 10_000 and base == 1000:
        return str(number)
    value = float(number)
    for unit in ("", "K", "M", "G", "T"):
        if value < base or unit == "T":
            return f"{value:.0f}{unit}" if value >= 100 or not unit else f"{value:.1f}{unit}"
        value /= base
    return str(number)
