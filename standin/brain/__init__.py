"""A stand-in for WorldQuant BRAIN's API: its limits and faults, with invented figures that are marked as such."""
