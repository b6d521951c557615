"""`alphas`: list and export them, show all about one, choose those that add most to each other."""
