"""Readers of data sets from folders on disk."""
