"""A Report as text and as a page; no decisions."""
