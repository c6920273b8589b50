"""The loop, losses, optimizers and cached features."""
