"""Both clients of a channel against every named fault: attacks, links, clocks, models."""
