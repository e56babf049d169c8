"""Training with 8-bit rounding in the loop: the float network teaches, integers are kept."""
