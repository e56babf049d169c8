"""Files on devices: pushed by digest, golden vectors first, then the clock."""
