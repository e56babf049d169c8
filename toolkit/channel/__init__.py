"""The publishing side: keys, signed metadata, releases; a folder that any web server serves."""
