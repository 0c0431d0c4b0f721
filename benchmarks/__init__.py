"""Speed and memory, beside what users would pick instead: `make bench`."""
