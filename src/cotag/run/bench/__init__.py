"""Where the time of training, predicting and reading pictures goes, and what would help."""
