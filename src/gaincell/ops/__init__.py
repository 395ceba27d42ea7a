"""What the two arrays of a head compute: the oracle, the parallel form, and the ring."""

from gaincell.ops.attention import attention, attention_map, naive_attention
from gaincell.ops.ring import Ring

__all__ = ["Ring", "attention", "attention_map", "naive_attention"]
