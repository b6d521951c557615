"""Calls to the model: prompt, throttle, request, reply."""
