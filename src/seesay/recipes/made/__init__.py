"""Pictures whose contents are known exactly, made without limit: pages of words, scenes of things.

Everything is a function of (seed, index): the same numbers give the same picture and labels.
"""
