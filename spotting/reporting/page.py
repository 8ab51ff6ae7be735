"""One HTML file that holds everything it shows: style, scripts, drawings."""

import html
import string
from importlib import resources

from spotting.base.text_table import printable


def asset(name: str) -> str:
    """Reads a style sheet, script or template that ships with the package."""
    return resources.files("spotting.reporting").joinpath("assets", name).read_text("utf-8")


def fill_template(name: str, **values: str) -> str:
    """Puts values, which are HTML, in the place of a template's $names.

    Args:
      name: Of a file in assets.
      values: One for each name in it; a "$" in a value stays what it is.
    """
    return string.Template(asset(name)).substitute(values)


def escape(text: str) -> str:
    """Text as HTML shows it, in element and attribute, control characters by their escapes."""
    return html.escape(printable(text))


def make_page(title: str, body: str, subtitle: str = "", timeline: bool = False) -> str:
    """Makes a whole page in light and dark, readable without a network.

    Args:
      title: Heading, and the window's title; any text.
      body: HTML below the heading.
      subtitle: HTML under the heading.
      timeline: Whether the body holds a timeline section.
    """
    names = ["page.js", *(["matching.js", "timeline.js"] if timeline else [])]
    return fill_template(
        "page.html",
        title=escape(title),
        style=asset("page.css") + (asset("timeline.css") if timeline else ""),
        subtitle=subtitle,
        body=body,
        scripts="\n".join(f"<script>{asset(name)}</script>" for name in names),
    )
