"""One release of a channel, every signature checked, on its way into another system's format."""
