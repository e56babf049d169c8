"""From a float ONNX file and photographs to ranges, and from ranges to Q/DQ files."""
