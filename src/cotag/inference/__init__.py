"""Predictors: whatever gives a score for every label of a picture."""
