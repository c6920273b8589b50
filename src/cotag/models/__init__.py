"""Backbones, heads and the tagger that joins them."""
