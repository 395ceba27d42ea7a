"""A run as one HTML file."""

from gaincell.report.page import write_report
from gaincell.report.results import Report, Results

__all__ = ["Report", "Results", "write_report"]
