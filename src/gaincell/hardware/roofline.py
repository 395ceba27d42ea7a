"""What digital hardware needs at least for the same work, from its datasheet: a bound, not a measurement."""

from dataclasses import dataclass

from gaincell.errors import InputError
from gaincell.hardware.datasheets import H100_SXM, Accelerator
from gaincell.hardware.decoder import DecoderShape
from gaincell.hardware.estimation import Row
from gaincell.hardware.workload import Workload

#: What to know before quoting a roofline.
ROOFLINE_CAVEAT = (
    "Roofline from datasheet numbers, not measured: no kernel is faster, most are slower. Its energy is a range: of "
    "operations and bytes alone, to rated power times that time, which is no bound."
)


@dataclass(frozen=True)
class Roofline:
    """The least that a step takes, in which each sequence of a batch gets one token. See `ROOFLINE_CAVEAT`.

    Attributes:
        latency_s: time of the step: of its operations at peak or of its bytes at full bandwidth, whichever is longer.
        energy_j: energy of one token, a batch-th of the step's, at rated power for that time.
        idle_free_j: the same of operations and bytes alone, at their own cost.
        flop: operations of the step.
        moved_bytes: bytes of the step to and from memory.
        layers: layers in these figures.
    """

    latency_s: float
    energy_j: float
    idle_free_j: float
    flop: float
    moved_bytes: float
    layers: int

    @property
    def per_layer(self) -> "Roofline":
        """One layer's share."""
        n = self.layers
        return Roofline(
            self.latency_s / n, self.energy_j / n, self.idle_free_j / n, self.flop / n, self.moved_bytes / n, 1
        )

    @property
    def energy_range_j(self) -> tuple[float, float]:
        """The lesser and the greater of both energies."""
        least, most = sorted((self.idle_free_j, self.energy_j))
        return least, most


def attention_roofline(
    attention: Workload, window: int, accelerator: Accelerator, batch: int = 1, bytes_per_number: float = 2
) -> Roofline:
    """Attention of one token per sequence over a full window, or each layer's own where it is smaller.

    Each sequence has a cache of its own, so nothing is shared in a batch. Counted are both products (softmax is not),
    reading the cache, writing the new key and value, and the query and output.

    Args:
        attention: the model's layers.
        window: tokens attended to, the new one among them.
        accelerator: what computes it.
        batch: sequences.
        bytes_per_number: of keys, values, query and output.

    Raises:
        InputError: `window`, `batch` or `bytes_per_number` is not above 0, or no layer attends.
    """
    attention.check_attends()
    _check(window=window, batch=batch, bytes_per_number=bytes_per_number)
    flop = numbers = 0
    for layer in attention.attending:
        tokens, both = layer.attends_to(window), layer.heads * (layer.key_dim + layer.value_dim)
        flop += 2 * both * tokens
        numbers += layer.cached * tokens + both
    return _roofline(accelerator, batch * flop, batch * numbers * bytes_per_number, batch, len(attention.attending))


def decoder_roofline(
    decoder: DecoderShape, accelerator: Accelerator, batch: int = 1, bytes_per_weight: float = 2
) -> Roofline:
    """The rest of a token: projections, MLP and LM head. A batch shares the weights, which are read once a step.

    Activations are taken to stay on the chip.

    Raises:
        InputError: `batch` or `bytes_per_weight` is not above 0.
    """
    _check(batch=batch, bytes_per_weight=bytes_per_weight)
    return _roofline(
        accelerator,
        batch * 2 * decoder.multiply_adds,
        decoder.weights * bytes_per_weight,
        batch,
        len(decoder.attention.layers),
    )


@dataclass(frozen=True)
class Link:
    """What carries queries, keys, values and outputs between the accelerator and the gain cells.

    Attributes:
        bytes_per_s: bandwidth in one direction.
        bit_j: energy of one bit.
        transfer_s: time that a transfer takes beside its bytes. Assumption: not published for such a pair of chips.
        source: where bandwidth and energy come from.
    """

    bytes_per_s: float
    bit_j: float
    transfer_s: float
    source: str


NVLINK_C2C = Link(450e9, 1.3e-12, 100e-9, "NVIDIA NVLink-C2C: Wei et al., ISSCC 2023, paper 9.3; 900 GB/s both ways")


@dataclass(frozen=True)
class WholeToken:
    """One token of one sequence, whole model: attention in gain cells beside attention on the same accelerator.

    Times add up one after the other: nothing overlaps, and the accelerator's power while it waits is not charged.

    Attributes:
        accelerator: what computes all but the gain cells' attention.
        rest: projections, MLP and LM head on the accelerator.
        digital_attention: attention on the accelerator.
        attention_latency_s: attention in gain cells, all layers.
        attention_energy_j: the same, energy.
        transfer_latency_s: moving queries, keys and values to the gain cells and outputs back, all layers.
        transfer_energy_j: the same, energy.
    """

    accelerator: Accelerator
    rest: Roofline
    digital_attention: Roofline
    attention_latency_s: float
    attention_energy_j: float
    transfer_latency_s: float
    transfer_energy_j: float

    @property
    def digital_latency_s(self) -> float:
        """Everything on the accelerator."""
        return self.rest.latency_s + self.digital_attention.latency_s

    @property
    def digital_energy_j(self) -> float:
        """Everything on the accelerator, at rated power."""
        return self.rest.energy_j + self.digital_attention.energy_j

    @property
    def digital_idle_free_j(self) -> float:
        """The same of operations and bytes alone."""
        return self.rest.idle_free_j + self.digital_attention.idle_free_j

    @property
    def latency_s(self) -> float:
        """Attention in gain cells, the rest on the accelerator."""
        return self.rest.latency_s + self.transfer_latency_s + self.attention_latency_s

    @property
    def energy_j(self) -> float:
        """Attention in gain cells, the rest on the accelerator at rated power."""
        return self.rest.energy_j + self.transfer_energy_j + self.attention_energy_j

    @property
    def idle_free_j(self) -> float:
        """The same with operations and bytes alone on the accelerator."""
        return self.rest.idle_free_j + self.transfer_energy_j + self.attention_energy_j

    @property
    def latency_gain(self) -> float:
        """How many times faster the whole token is with gain cells."""
        return self.digital_latency_s / self.latency_s

    @property
    def energy_gain(self) -> float:
        """How many times less energy it takes, at rated power."""
        return self.digital_energy_j / self.energy_j

    @property
    def idle_free_gain(self) -> float:
        """The same, of operations and bytes alone."""
        return self.digital_idle_free_j / self.idle_free_j

    @property
    def latency_bound(self) -> float:
        """The gain if attention and its transfers took no time (Amdahl's law)."""
        return self.digital_latency_s / self.rest.latency_s

    @property
    def energy_bound(self) -> float:
        """The gain if they took no energy."""
        return self.digital_energy_j / self.rest.energy_j

    @property
    def attention_share(self) -> float:
        """Of the time that everything on the accelerator takes."""
        return self.digital_attention.latency_s / self.digital_latency_s

    @property
    def fits(self) -> bool:
        """Whether one accelerator's memory holds the weights and the cache; if not, its figures are of a fiction."""
        return self.rest.moved_bytes + self.digital_attention.moved_bytes <= self.accelerator.memory_bytes

    @property
    def notes(self) -> list[str]:
        """What to know before quoting it, in sentences."""
        notes, gains = [ROOFLINE_CAVEAT], (self.energy_gain, self.idle_free_gain)
        if min(gains) < 1 < max(gains):
            notes.append(
                f"Whether gain cells save energy over the whole token is open: x{self.energy_gain:.3g} less at rated "
                f"power, x{self.idle_free_gain:.3g} less of operations and bytes alone."
            )
        if not self.fits:
            name = self.accelerator.name
            notes.append(f"One {name} cannot hold this model and its cache: its figures are of a fiction.")
        return notes

    def table(self) -> list[Row]:
        """Rows to print."""
        name = self.accelerator.name
        figures = [
            (f"whole token, all on {name} (roofline)", self.digital_latency_s * 1e6, "us"),
            ("whole token, attention in gain cells", self.latency_s * 1e6, "us"),
            (f"share of attention in it, all on {name}", self.attention_share, "-"),
            ("whole token, times faster", self.latency_gain, "x"),
            ("whole token, times faster if attention took no time", self.latency_bound, "x"),
            (f"energy of the whole token, all on {name}, at rated power", self.digital_energy_j * 1e3, "mJ"),
            ("energy of the whole token, attention in gain cells, at rated power", self.energy_j * 1e3, "mJ"),
            ("whole token, times less energy, at rated power", self.energy_gain, "x"),
            (f"energy of the whole token, all on {name}, idle-free", self.digital_idle_free_j * 1e3, "mJ"),
            ("energy of the whole token, attention in gain cells, idle-free", self.idle_free_j * 1e3, "mJ"),
            ("whole token, times less energy, idle-free", self.idle_free_gain, "x"),
        ]
        return [Row(text, value, unit, None, None) for text, value, unit in figures]


def whole_token(
    decoder: DecoderShape,
    attention_latency_s: float,
    attention_energy_j: float,
    window: int,
    accelerator: Accelerator = H100_SXM,
    link: Link = NVLINK_C2C,
    bytes_per_number: float = 2,
    batch: int = 1,
) -> WholeToken:
    """Put an estimate of attention in gain cells into a whole token of every sequence of a batch.

    Every layer makes two transfers: queries, keys and values to the gain cells, and the output back. Sequences have
    arrays of their own, which work side by side. Times are those of the batch's step, energies those of one token.

    Args:
        decoder: the model.
        attention_latency_s: of one token in gain cells, all layers.
        attention_energy_j: the same, energy.
        window: tokens attended to, in both.
        accelerator: what computes the rest.
        link: what connects it to the gain cells.
        bytes_per_number: of weights, of the accelerator's cache, and of what is transferred.
        batch: sequences.

    Raises:
        InputError: a number is not above 0 (the estimate's may be 0).
    """
    if min(attention_latency_s, attention_energy_j) < 0:
        raise InputError("attention_latency_s and attention_energy_j must not be below 0; pass an estimate's.")
    carried = decoder.attention.carried * bytes_per_number
    return WholeToken(
        accelerator,
        decoder_roofline(decoder, accelerator, batch, bytes_per_number),
        attention_roofline(decoder.attention, window, accelerator, batch, bytes_per_number),
        attention_latency_s,
        attention_energy_j,
        batch * carried / link.bytes_per_s + 2 * len(decoder.attention.attending) * link.transfer_s,
        8 * carried * link.bit_j,
    )


def _roofline(accelerator: Accelerator, flop: float, moved_bytes: float, batch: int, layers: int) -> Roofline:
    latency_s = max(flop / accelerator.flop_per_s, moved_bytes / accelerator.bytes_per_s)
    rated_j = accelerator.board_power_w * latency_s
    idle_free_j = flop * accelerator.flop_j + moved_bytes * accelerator.byte_j
    return Roofline(latency_s, rated_j / batch, idle_free_j / batch, flop, moved_bytes, layers)


def _check(**numbers: float) -> None:
    for name, value in numbers.items():
        if not value > 0:
            raise InputError(f"{name} is {value}, but must be above 0.")
