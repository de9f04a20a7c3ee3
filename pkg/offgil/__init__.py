"""Network calls off the GIL, and their results where they are needed."""

__version__ = "0.1.0"
