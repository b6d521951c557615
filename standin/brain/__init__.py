"""A stand-in for WorldQuant BRAIN's API: its limits and its faults, with figures that are made up and say so."""
