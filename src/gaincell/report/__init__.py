"""A run as one HTML file."""

from gaincell.report.page import write_report
from gaincell.report.results import Results

__all__ = ["Results", "write_report"]
