"""Networks and weights of others, made into what this book uses."""
