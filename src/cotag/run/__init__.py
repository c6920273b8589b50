"""One training run, top to bottom, and the folder that it leaves."""
