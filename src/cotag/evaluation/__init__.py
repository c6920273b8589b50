"""Metrics, decisions and reports on Scores."""
