"""Small tasks, training, judging and showing of results."""
