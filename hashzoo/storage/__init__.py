"""Files: whole or absent, JSON of a known shape, large arrays in the cache, and copies of them in a bucket."""
