"""The parts of the report: reading runs, measures, tables, figures, timeline, page."""
