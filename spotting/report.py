"""Writes what runs achieved as one HTML page and as Markdown, beside the paper's figures.

  python -m spotting.report runs/table1 --output=reports/table1

DIR is a run directory, a folder of its seeds (seed_0, seed_1, ...), or a study: a folder of such
folders. Writes report.html (one file, works offline) and report.md (the tables) to --output, by
default to the first DIR.
"""

import html
import sys
from collections.abc import Sequence
from pathlib import Path

from spotting.base import cli
from spotting.base.files import write_text_atomic
from spotting.reporting import sections
from spotting.reporting.page import page
from spotting.reporting.runs import REPORT_FILE, read_rows
from spotting.reporting.study import Study, read_study
from spotting.reporting.tables import to_html, to_markdown


def write_report(directories: Sequence[Path], output: Path) -> Path:
    """Reads the runs, compares them with truth and with the paper, and writes the report.

    Args:
      directories: Run directories, folders of seeds, or studies.
      output: Folder for report.html and report.md; made if need be.

    Returns:
      The path of the HTML file.

    Raises:
      InputError: a directory holds no run, or a results file cannot be read.
    """
    study = read_study(read_rows(directories), progress=lambda line: print(line, file=sys.stderr))
    parts = sections.all_sections(study)
    write_text_atomic(output / "report.md", _markdown(study, parts))
    write_text_atomic(output / REPORT_FILE, _html(study, parts))
    return output / REPORT_FILE


def _html(study: Study, parts: Sequence[sections.Section]) -> str:
    links = "".join(f'<a href="#{part.anchor}">{part.title}</a>' for part in parts)
    body = [f"<nav>{links}</nav>"]
    body += [f'<p class="warning">{html.escape(line)}</p>' for line in study.warnings()]
    for part in parts:
        body.append(f'<section id="{part.anchor}"><h2>{part.title}</h2>')
        body.append(part.html)
        for heading, table in part.tables:
            body.append(f"<h3>{html.escape(heading)}</h3>" if heading else "")
            body.append(to_html(table))
        body.append("</section>")
    subtitle = f"<p>{html.escape(study.summary())}</p>"
    with_timeline = any(part.anchor == "game" for part in parts)
    return page(study.title(), "\n".join(body), subtitle, with_timeline)


def _markdown(study: Study, parts: Sequence[sections.Section]) -> str:
    lines = [f"# {study.title()}\n", f"{study.summary()}\n"]
    lines += [f"> **Note:** {line}\n" for line in study.warnings()]
    for part in parts:
        if part.tables:
            lines.append(f"## {part.title}\n")
        for heading, table in part.tables:
            lines += [f"### {heading}\n"] if heading else []
            lines.append(to_markdown(table))
    return "\n".join(lines)


def main() -> None:
    """Reads the command line."""
    parser = cli.Parser("python -m spotting.report", __doc__)
    parser.add_argument("directories", nargs="+", type=Path, metavar="DIR")
    parser.add_argument("--output", type=Path, help="folder to write to (default: the first DIR)")
    arguments = parser.parse_args()
    print(write_report(arguments.directories, arguments.output or arguments.directories[0]))


if __name__ == "__main__":
    cli.run(main)
