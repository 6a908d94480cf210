"""Generates demo cases with a known truth, in the layouts of the data sets."""
