"""Dilated convolution, paper by paper: the code of the book.

Nothing is re-exported: `from atrous.layers.context import ContextModule`
tells which file to open.
"""
