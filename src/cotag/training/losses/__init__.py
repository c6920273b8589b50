"""Losses, one file each; each returns unreduced losses_BK."""
