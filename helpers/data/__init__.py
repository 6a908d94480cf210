"""Reading cases of each data set's own layout, and making demo cases of the same layout."""
