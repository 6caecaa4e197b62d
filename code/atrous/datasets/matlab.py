"""Matrices in files of MATLAB, as annotations of Berkeley's data sets are."""

from pathlib import Path

import numpy as np
from scipy.io import loadmat
from scipy.sparse import issparse

from atrous.datasets.pairs import need


def read_mat(file: Path, variable: str) -> np.ndarray | None:
    """Read one variable of a file, None where there is none of this name.

    Raises:
        FileNotFoundError: If the file is missing.
        ValueError: If scipy cannot read it.
    """
    need(file)
    try:
        return loadmat(file, variable_names=variable).get(variable)
    except Exception as error:  # of many kinds, also for version 7.3
        raise ValueError(
            f"{file}: scipy cannot read it: {error}; files of version 7.3 "
            "are to be saved as version 7"
        ) from error


def matrix_in(cell, field: str, variable: str, file: Path) -> np.ndarray:
    """Matrix in a field of a struct: one in a cell, or one of an array.

    Args:
        cell: What scipy gives for the struct.
        field: Name of the field.
        variable: Name of the variable, for errors.
        file: Where it is from, for errors.

    Raises:
        ValueError: If there is no such field, or no matrix (H, W) in it.
    """
    names = getattr(cell, "dtype", np.dtype(int)).names or ()
    if field not in names:
        raise ValueError(
            f"{file}: {variable} holds {[*names] or type(cell).__name__}, "
            f"not structs with a field {field}"
        )
    matrix = cell[field]
    while matrix.dtype == object and matrix.size == 1:
        matrix = matrix.item()
    if issparse(matrix):
        matrix = matrix.toarray()
    if not isinstance(matrix, np.ndarray) or matrix.ndim != 2:
        raise ValueError(f"{file}: {field} are no matrix (H, W)")
    return matrix
