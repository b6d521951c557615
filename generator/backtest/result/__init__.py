"""From an alpha's values to positions, figures, checks and plots."""
