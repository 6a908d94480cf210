"""The double of ais_bench (Ascend/tools), on the double of pyACL."""

__double__ = True  # Ascend's own package has no such attribute: times of this one are simulated
