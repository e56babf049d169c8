"""The parts of the torch bridge; `toolkit.model.torch_bridge` is its door."""
