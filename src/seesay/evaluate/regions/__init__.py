"""Figures of what is found where: boxes, phrases, masks and lines of text."""
