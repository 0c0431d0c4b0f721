"""One module for each dataset."""
