"""Figures about files of rows and about teachers' answers, and the page that shows them."""
