"""Labels that are known beforehand: how they come together, and what their names mean."""
