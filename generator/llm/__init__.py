"""Calls to the model: prompt, pacing, request, reply."""
