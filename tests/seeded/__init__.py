"""Seeded faults: good builds, what is done to them, and what the product says of it."""
