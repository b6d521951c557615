"""`alphas`: lists, exports and details of alphas, and the choice of those that add most to each other."""
