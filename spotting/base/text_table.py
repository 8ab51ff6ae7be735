"""Tables of text for terminals: columns aligned, control characters shown instead of obeyed."""

import unicodedata
from collections.abc import Sequence

_GAP = "  "


def text_table(
    rows: Sequence[Sequence[str] | str],
    header: Sequence[str] = (),
    names: int = 1,
    indent: str = "",
) -> str:
    """Aligns cells in columns as wide as their widest cell.

    Args:
      rows: The cells of each row; a row may have fewer than others. A string is a line of its own,
        which no column makes room for.
      header: The columns' titles; none by default.
      names: How many columns, from the left, are aligned left; the others are numbers and aligned
        right.
      indent: Begins every line.

    Returns:
      Lines without trailing spaces, joined by newlines.

    Example:
      >>> print(text_table([("goal", "71.2"), ("corner", "8.0"), "no red card"], ("", "loose")))
              loose
      goal     71.2
      corner    8.0
      no red card
    """
    lines = [row if isinstance(row, str) else [*map(printable, row)] for row in (header, *rows)]
    cells = [line for line in lines if not isinstance(line, str)]
    columns = max(map(len, cells), default=0)
    widths = [
        max((_width(line[column]) for line in cells if column < len(line)), default=0)
        for column in range(columns)
    ]
    text = []
    for line in lines if header else lines[1:]:
        if not isinstance(line, str):
            padded = []
            for column, cell in enumerate(line):
                space = " " * (widths[column] - _width(cell))
                padded.append(cell + space if column < names else space + cell)
            line = _GAP.join(padded)
        else:
            line = printable(line)
        text.append((indent + line).rstrip())
    return "\n".join(text)


def printable(text: str) -> str:
    """The text in one line, what would steer a terminal or break a file shown by its escape.

    Newlines, tabs, other control characters, marks of text direction and lone surrogates become
    escapes such as \\n or \\x1b.
    """
    if text.isprintable():  # As nearly all names are, which needs no look at each character.
        return text
    return "".join(
        character.encode("unicode_escape").decode() if _steers(character) else character
        for character in text
    )


def printable_lines(text: str) -> str:
    """As `printable`, but newlines stay."""
    return "\n".join(map(printable, text.split("\n")))


def _steers(character: str) -> bool:
    """Whether it is a control, direction or line-breaking character, or half of a pair."""
    category = unicodedata.category(character)
    if category == "Cf":  # joiners belong to emoji and to several scripts
        return character not in "\u200c\u200d"
    return category in ("Cc", "Cs", "Zl", "Zp")


def _width(text: str) -> int:
    """Columns of a terminal that a text takes."""
    return sum(
        0 if unicodedata.combining(c) else 2 if unicodedata.east_asian_width(c) in "WF" else 1
        for c in text
    )
