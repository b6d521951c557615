"""The generator: prompt, generate, parse, de-duplicate, evaluate, store."""
