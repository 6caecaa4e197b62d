"""The dilated convolution and the operations beside it, as functions."""
