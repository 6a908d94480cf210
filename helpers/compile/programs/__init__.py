"""Programs for other interpreters, in a folder of their own because Python puts that folder first on its path."""
