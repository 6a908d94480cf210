"""Compatibility with nnU-Net: plans, model folders, cases, preprocessing, postprocessing and saved probabilities."""
