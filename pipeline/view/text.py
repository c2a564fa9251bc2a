"""Text as it is shown: durations and aligned columns."""

import math
from collections.abc import Collection, Sequence

__all__ = ["align", "format_duration"]


def format_duration(seconds: float) -> str:
    """Return a duration with two units at most: `0.4 s`, `12 s`, `2 min 5 s`, `3 h 10 min`, `4 d 2 h`."""
    if not math.isfinite(seconds):
        return "?"
    if 0 < seconds < 9.95:
        return f"{seconds:.1f} s"
    left = max(0, round(seconds))
    for unit, name, smaller, smaller_name in ((86400, "d", 3600, "h"), (3600, "h", 60, "min"), (60, "min", 1, "s")):
        if left >= unit:
            rest = left % unit // smaller
            return f"{left // unit} {name}" + (f" {rest} {smaller_name}" if rest else "")
    return f"{left} s"


def align(header: Sequence[str], rows: Sequence[Sequence[str]], right: Collection[int] = ()) -> list[str]:
    """
    Return header and rows as lines with aligned columns, two blanks between them.

    Args:
        header: (c,) titles.
        rows: (r, c) cells.
        right: Numbers of the columns that are aligned to the right.

    Returns:
        (r + 1,) lines without trailing blanks.
    """
    widths = [max(map(len, column)) for column in zip(header, *rows, strict=True)]
    return ["  ".join(_padded(row, widths, right)).rstrip() for row in [header, *rows]]


def _padded(row: Sequence[str], widths: Sequence[int], right: Collection[int]) -> list[str]:
    cells = enumerate(zip(row, widths, strict=True))
    return [cell.rjust(width) if i in right else cell.ljust(width) for i, (cell, width) in cells]
