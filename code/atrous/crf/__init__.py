"""The fully connected CRF, and fast filtering by its kernels."""
