"""Reads cases in the layout of each data set, prepares their images, and writes masks."""
