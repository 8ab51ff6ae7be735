"""One HTML file that holds everything it shows: style, scripts, drawings."""

import html
from importlib import resources


def asset(name: str) -> str:
    """Text of a style sheet or script that ships with the package."""
    return resources.files("spotting.reporting").joinpath("assets", name).read_text("utf-8")


def page(title: str, body: str, subtitle: str = "", timeline: bool = False) -> str:
    """A whole page in light and dark, readable without a network.

    Args:
      title: Heading, and the window's title.
      body: HTML below the heading.
      subtitle: HTML under the heading.
      timeline: Whether the body holds a timeline section.
    """
    style = asset("page.css") + (asset("timeline.css") if timeline else "")
    scripts = ["page.js", *(["matching.js", "timeline.js"] if timeline else [])]
    code = "\n".join(f"<script>{asset(name)}</script>" for name in scripts)
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{html.escape(title)}</title>
<style>{style}</style>
</head>
<body>
<header><div><h1>{html.escape(title)}</h1>{subtitle}</div>
<button id="theme" type="button" hidden></button></header>
{body}
{code}
</body>
</html>
"""
