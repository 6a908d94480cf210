"""Interchange with other tools and machines: raw inputs and outputs of command-line tools, and hand-over bundles."""
