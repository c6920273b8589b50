"""Sweeps: many settings of a recipe, each with several seeds, judged against the recipe as it is."""
