"""Tensors as files of raw bytes, the way `assay bench` writes them: row-major, bf16 as its 16 bits."""
import os

import numpy


def read_all(folder, specifications):
    """Arrays by role; bf16 ones as uint16. One sequence's memory is repeated where all sequences share it."""
    arrays = {}
    for role, item in specifications.items():
        dtype = {"bf16": numpy.uint16, "fp32": numpy.float32}[item["dtype"]]
        array = numpy.fromfile(os.path.join(folder, role), dtype=dtype).reshape(item["shape"])
        if item.get("repeat", 1) > 1:
            array = numpy.repeat(array, item["repeat"], axis=0)
        arrays[role] = array
    return arrays


def to_float32(array):
    """fp32 values of an array from read_all."""
    if array.dtype == numpy.uint16:
        return (array.astype(numpy.uint32) << 16).view(numpy.float32)
    return array


def write(folder, name, array):
    numpy.ascontiguousarray(array, dtype=numpy.float32).tofile(os.path.join(folder, name))
