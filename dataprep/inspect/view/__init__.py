"""A local web page over files of rows of any size."""
