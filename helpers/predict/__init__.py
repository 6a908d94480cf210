"""Masks and nothing else: a model that was proven once is opened as it is, a new one is proven on the way."""
