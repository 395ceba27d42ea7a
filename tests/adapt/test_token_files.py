"""A file of token ids is what its header says, or refused."""

from pathlib import Path

import numpy as np
import pytest

from gaincell.adapt.text.sources import load_tokens
from gaincell.errors import InputError


def test_a_header_with_a_flipped_bit_is_refused_or_as_good(tmp_path: Path) -> None:
    path, rows = tmp_path / "rows.npy", np.arange(12, dtype=np.int32).reshape(3, 4)
    np.save(path, rows)
    whole = path.read_bytes()
    for bit in range(8 * 128):
        flipped = bytearray(whole)
        flipped[bit // 8] ^= 1 << bit % 8
        path.write_bytes(flipped)
        try:
            assert load_tokens(path).numel() == rows.size
        except InputError as error:
            assert "rows.npy" in str(error)  # noqa: PT017


@pytest.mark.parametrize(
    "header",
    [
        "{'descr': '<i4', 'fortran_order': False, 'shape': (10**30, 4), }",
        "{'descr': '<i4', 'fortran_order': False, 'shape': (1000000000000000000000000, 4), }",
        "{'descr': '<i4', 'fortran_order': False, 'shape': (2, 4), }",
        "{'descr': '<i4', 'fortran_order': False, 'shape': (-3, 4), }",
        "{'descr': '|O', 'fortran_order': False, 'shape': (3, 4), }",
        "(" * 90,
    ],
)
def test_other_headers_are_refused(header: str, tmp_path: Path) -> None:
    line = header.ljust(117).encode() + b"\n"
    path = tmp_path / "rows.npy"
    path.write_bytes(b"\x93NUMPY\x01\x00" + len(line).to_bytes(2, "little") + line + bytes(48))
    with pytest.raises(InputError, match=r"rows\.npy"):
        load_tokens(path)
