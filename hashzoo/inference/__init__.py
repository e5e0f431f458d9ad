"""What a trained run is good for: its model, loaded again, and items that pass through it into a collection."""
