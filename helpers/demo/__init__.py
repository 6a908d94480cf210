"""Demo cases with known truth, in the data sets' own layouts."""
