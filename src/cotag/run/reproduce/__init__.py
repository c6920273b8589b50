"""Experiments of published papers, on any data: one function each, in the table ``EXPERIMENTS``."""
