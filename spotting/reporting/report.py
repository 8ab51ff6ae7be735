"""The report: what runs achieved as one HTML page and as Markdown, beside the paper's numbers."""

import sys
from collections.abc import Sequence
from pathlib import Path

from spotting.base.files import write_text_atomic
from spotting.reporting import sections
from spotting.reporting.page import escape, make_page
from spotting.reporting.runs import read_rows
from spotting.reporting.study import ReportedStudy, read_study
from spotting.reporting.tables import escape_markdown, to_html, to_markdown
from spotting.runs import layout


def write_report(directories: Sequence[Path], output: Path) -> Path:
    """Reads the runs, compares them with truth and with the paper, and writes the report.

    Args:
      directories: Run directories, folders of seeds, or studies.
      output: Folder for report.html and report.md; made if need be.

    Returns:
      The path of the HTML file.

    Raises:
      InputError: a directory holds no run, or a file of a run cannot be read.
    """
    study = read_study(read_rows(directories), progress=lambda line: print(line, file=sys.stderr))
    parts = sections.make_sections(study)
    write_text_atomic(output / layout.REPORT_TEXT, _make_markdown(study, parts))
    write_text_atomic(output / layout.REPORT, _make_html(study, parts))
    return output / layout.REPORT


def _make_html(study: ReportedStudy, parts: Sequence[sections.Section]) -> str:
    links = "".join(f'<a href="#{part.anchor}">{escape(part.title)}</a>' for part in parts)
    body = [f"<nav>{links}</nav>"]
    body += [f'<p class="warning">{escape(line)}</p>' for line in study.warnings()]
    for part in parts:
        body.append(f'<section id="{part.anchor}"><h2>{escape(part.title)}</h2>')
        body.append(part.html)
        for heading, table in part.tables:
            body.append(f"<h3>{escape(heading)}</h3>" if heading else "")
            body.append(to_html(table))
        body.append("</section>")
    subtitle = f"<p>{escape(study.summary())}</p>"
    with_timeline = any(part.anchor == "game" for part in parts)
    return make_page(study.title(), "\n".join(body), subtitle, with_timeline)


def _make_markdown(study: ReportedStudy, parts: Sequence[sections.Section]) -> str:
    lines = [f"# {escape_markdown(study.title())}\n", f"{escape_markdown(study.summary(), True)}\n"]
    lines += [f"> **Note:** {escape_markdown(line)}\n" for line in study.warnings()]
    for part in parts:
        if part.tables:
            lines.append(f"## {escape_markdown(part.title)}\n")
        for heading, table in part.tables:
            lines += [f"### {escape_markdown(heading)}\n"] if heading else []
            lines.append(to_markdown(table))
    return "\n".join(lines)
