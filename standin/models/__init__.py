"""The stand-in's models: names, sizes, need of GPU memory, and the disk they lie on."""
