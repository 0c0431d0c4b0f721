"""Read the directories of training runs, and compare the runs."""
