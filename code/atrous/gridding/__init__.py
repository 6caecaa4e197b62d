"""How to see gridding, measure it and cure it."""
