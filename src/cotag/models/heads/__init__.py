"""Heads: from plain features to logits, one file each."""
