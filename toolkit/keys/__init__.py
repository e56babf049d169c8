"""Signing keys: on disk, encrypted, or in an HSM; who must sign what."""
