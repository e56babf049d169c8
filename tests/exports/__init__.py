"""Exports: laws of all formats, then each format by its own tool."""
