"""One file per number, unit in the name, and the one protocol that they follow."""
