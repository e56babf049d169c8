"""What ships: manifest, digests, golden vectors."""
