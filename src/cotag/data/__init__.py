"""Readers, images, loaders, splits and statistics."""
