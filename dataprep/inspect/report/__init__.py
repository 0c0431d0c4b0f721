"""Describe files of rows on one page: counting, the rows to show, charts, and the page."""
