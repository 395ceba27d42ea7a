"""What the kernels take, and how they are cut: block sizes, warps and pipeline stages."""

import torch

from gaincell.config import GainCellConfig

#: Narrowest and widest head_dim; a matrix unit multiplies no fewer than 16 columns.
NARROWEST, WIDEST = 16, 256

#: Shared memory of one block of threads on an H100, in bytes; assumed where there is no device to ask.
_ROOM = 227 << 10


def width(head_dim: int) -> int:
    """Columns of a tile that holds head_dim of them: a power of two."""
    return max(NARROWEST, 1 << (head_dim - 1).bit_length())


def cut(
    config: GainCellConfig, head_dim: int, tiles: int, resident: int, device: torch.device
) -> dict[str, int | bool]:
    """Block size and launch options of a kernel.

    A block is a sub-tile, or a part of one where tiles would outgrow registers or shared memory. tf32 in three parts
    needs about twice the registers of bfloat16 (compiled for compute capability 9.0): half the block, twice the warps.

    Args:
        config: the design point.
        head_dim: D.
        tiles: blocks of operands that one step of the kernel's loop loads; they are in flight `num_stages` deep.
        resident: those that stay in shared memory besides.
        device: where it runs.
    """
    itemsize = 2 if config.matmul == "bfloat16" else 4
    wide = width(head_dim)
    room = torch.cuda.get_device_properties(device).shared_memory_per_block_optin if device.type == "cuda" else _ROOM
    block = min(config.subtile_columns, (128 if wide <= 128 else 64) // itemsize)
    stages = 2
    while (stages * tiles + resident) * block * wide * itemsize > room and (stages > 1 or block > NARROWEST):
        stages, block = (1, block) if stages > 1 else (2, block // 2)
    warps = 4 if itemsize == 2 and wide <= 64 else 8
    return {"BLOCK": block, "num_warps": warps, "num_stages": stages, "enable_fp_fusion": True}
