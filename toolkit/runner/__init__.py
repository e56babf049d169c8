"""What runs on a device: the standard library, numpy and one runtime, Python 3.9 or newer."""
