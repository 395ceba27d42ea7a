"""A run as one HTML file."""

from gaincell.report.results import Report, Results
from gaincell.report.run_page import write_report

__all__ = ["Report", "Results", "write_report"]
