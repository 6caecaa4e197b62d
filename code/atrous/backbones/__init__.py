"""Classifiers made dense: what networks take their features from."""
