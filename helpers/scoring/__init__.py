"""Scores of masks against a ground truth, and their confidence intervals."""
