"""The stand-in at work: loads, loaded models, answers, pulls."""
