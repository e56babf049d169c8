"""How a spine becomes a runtime's own file, where no library does it well enough."""
