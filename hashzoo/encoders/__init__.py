"""Encoders: the contract, and one file a family."""
