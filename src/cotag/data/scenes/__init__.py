"""The embedded example: drawn scenes of several things, with exact labels, boxes, masks and relations."""
