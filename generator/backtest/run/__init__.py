"""Running a plan on a panel."""
