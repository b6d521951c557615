"""The stand-in's models: names, sizes, need of GPU memory, and their disk."""
