"""What flows: the float ONNX file, its IO contract, its quantization plan, its torch twin."""
