__double__ = True  # Cambricon's own module has no such attribute: times of this one are simulated
