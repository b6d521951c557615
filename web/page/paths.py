"""The views: path and name; their numbers are their keys."""

VIEWS = (("/", "Overview"), ("/incidents", "Incidents"), ("/alphas", "Alphas"), ("/models", "Models"))
