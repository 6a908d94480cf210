"""Programs that another interpreter runs: alone here, because their folder is where it looks for modules first."""
