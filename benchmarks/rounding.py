"""What rounding keys or values to eight levels does, and what would help: python -m benchmarks.rounding (see
docs/notes/adaptation-trials.md).

Softmax attention of the demo model on its own hidden states, with the keys or the values of each key/value head rounded
and nothing else changed: the first tokens of the packaged training text, of which an idea sees the first `--fitted`;
the squared error of the attention block's output over its power, on the others. Sinks (the first token, and any whose
value is short) stay exact. NumPy alone: a second a layer on one core.
"""

import argparse
import json
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy import ndarray as Array
from safetensors import safe_open
from tokenizers import Tokenizer

from gaincell.evaluate.text import default_training_text
from gaincell.models.demo import demo_model_folder

#: Root mean squares that fill the range, as the stage "statistics" has it; and a sink's value over the median.
CLIP, SHORT_VALUE = 2.05, 0.45
#: Best eight levels of a normal distribution [Max 1960].
HALF = np.array([0.2451, 0.7560, 1.3439, 2.1520])
NORMAL = np.concatenate((-HALF[::-1], HALF))
#: Share of the mean eigenvalue that second moments are given beside their own.
RIDGE = 0.01


@dataclass
class Seen:
    """What an idea is fitted on: x (N, D) in root mean squares around the mean, less the sinks.

    Attributes:
        rms: (D,) of a channel; metric: (D, D) of errors of x, by the second moment of queries or the output's weights.
    """

    x: Array
    rms: Array
    metric: Array

    @property
    def moment(self) -> Array:
        return ridged(self.x.T @ self.x / len(self.x))


Rounding = Callable[[Array], Array]
Idea = Callable[[Seen], Rounding]


def ridged(m: Array) -> Array:
    return m + RIDGE * np.trace(m) / len(m) * np.eye(len(m))


def even(clip: float, count: int = 8) -> Array:
    return np.linspace(-clip, clip, count)


def nearest(x: Array, levels: Array) -> Array:
    return levels[np.searchsorted((levels[1:] + levels[:-1]) / 2, x)]


def lloyd(x: Array) -> Array:
    """The symmetric eight levels with the least squared error on samples [Lloyd 1982]."""
    x, half = np.sort(np.abs(x.ravel())), HALF
    total = np.concatenate(([0.0], np.cumsum(x)))
    for _ in range(60):
        at = np.concatenate(([0], np.searchsorted(x, (half[1:] + half[:-1]) / 2), [len(x)]))
        half = (total[at[1:]] - total[at[:-1]]) / np.maximum(np.diff(at), 1)
    return np.concatenate((-half[::-1], half))


def in_sequence(x: Array, levels: Array, metric: Array) -> Array:
    """Channel by channel, each making up for the errors of those before, by the metric."""
    upper = np.linalg.cholesky(metric).T
    upper = upper / np.diag(upper)[:, None]
    out, rest = np.empty_like(x), np.zeros_like(x)
    for i in reversed(range(x.shape[1])):
        out[:, i] = nearest(x[:, i] + rest[:, i + 1 :] @ upper[i, i + 1 :], levels)
        rest[:, i] = x[:, i] - out[:, i]
    return out


def hadamard(n: int) -> Array:
    h = np.ones((1, 1))
    while len(h) < n:
        h = np.block([[h, h], [h, -h]])
    return h / np.sqrt(n)


def scaled(turn: Array, moment: Array) -> Array:
    """The turn with rows scaled to a root mean square of 1."""
    return turn / np.sqrt(np.diag(turn @ moment @ turn.T))[:, None]


def shaped(moment: Array, metric: Array) -> Array:
    """The linear map A after which rounding all channels alike weighs least by the metric, were it white noise.

    tr(metric A^-1 A^-T) is least, for unit rows of A moment^1/2, where A^T A = moment^-1/2 B^1/2 moment^-1/2 with
    B = moment^1/2 metric moment^1/2; a Hadamard matrix over B's eigenvectors makes the rows alike.
    """
    values, vectors = np.linalg.eigh(moment)
    root, inverse = (vectors * values**e @ vectors.T for e in (0.5, -0.5))
    values, vectors = np.linalg.eigh(root @ metric @ root)
    return scaled(hadamard(len(metric)) @ (np.maximum(values, 1e-12)[:, None] ** 0.25 * vectors.T) @ inverse, moment)


def by_levels(levels: Callable[[Seen], Array] | Array) -> Idea:
    def idea(seen: Seen) -> Rounding:
        found = levels(seen) if callable(levels) else levels
        return lambda x: nearest(x, found)

    return idea


def by_turn(turn: Callable[[Seen], Array], levels: Array, *, sequential: bool = False) -> Idea:
    def idea(seen: Seen) -> Rounding:
        there = turn(seen)
        back = np.linalg.inv(there)
        if sequential:
            return lambda x: in_sequence(x @ there.T, levels, back.T @ seen.metric @ back) @ back.T
        return lambda x: nearest(x @ there.T, levels) @ back.T

    return idea


def own_clips(seen: Seen) -> Rounding:
    """Each channel's range by the least squared error."""
    factors = np.geomspace(0.6, 1.6, 15)
    errors = [np.square(nearest(seen.x / f, even(CLIP)) * f - seen.x).sum(0) for f in factors]
    own = factors[np.argmin(errors, 0)]
    return lambda x: nearest(x / own, even(CLIP)) * own


def carried(seen: Seen) -> Rounding:
    """A quarter of a token's error is taken off the next one."""

    def rounding(x: Array) -> Array:
        out, rest = np.empty_like(x), np.zeros(x.shape[1])
        for t, row in enumerate(x):
            out[t] = nearest(row + 0.25 * rest, even(CLIP))
            rest = np.clip(row + 0.25 * rest - out[t], -0.5, 0.5)
        return out

    return rounding


def _hadamard(seen: Seen) -> Array:
    return scaled(hadamard(len(seen.rms)) * seen.rms, seen.moment)


def _principal(seen: Seen) -> Array:
    raw = np.diag(seen.rms)
    return scaled(np.linalg.eigh(raw @ seen.moment @ raw)[1].T @ raw, seen.moment)


def _shaped(seen: Seen) -> Array:
    return shaped(seen.moment, seen.metric)


#: By name, fitted on what was seen: from x to what is stored of it.
IDEAS: dict[str, Idea] = {
    "even": by_levels(even(CLIP)),
    "16 levels": by_levels(even(2.6, 16)),
    "normal": by_levels(NORMAL),
    "own": by_levels(lambda seen: lloyd(seen.x)),
    "own clips": own_clips,
    "clip 1.7": by_levels(even(1.7)),
    "clip 2.5": by_levels(even(2.5)),
    "clip 3": by_levels(even(3.0)),
    "normal x 1.2": by_levels(1.2 * NORMAL),
    "hadamard": by_turn(_hadamard, even(CLIP)),
    "hadamard, clip 2.5": by_turn(_hadamard, even(2.5)),
    "hadamard, normal x 1.2": by_turn(_hadamard, 1.2 * NORMAL),
    "principal": by_turn(_principal, even(CLIP)),
    "shaped": by_turn(_shaped, even(CLIP)),
    "sequential": by_turn(lambda seen: np.eye(len(seen.rms)), even(CLIP), sequential=True),
    "shaped, sequential": by_turn(_shaped, even(CLIP), sequential=True),
    "shaped, sequential, normal": by_turn(_shaped, NORMAL, sequential=True),
    "carried": carried,
}


class Demo:
    """The original demo model, layer by layer over its own hidden states of one text."""

    def __init__(self, start: int, tokens: int) -> None:
        folder = demo_model_folder()
        self.config = json.loads((folder / "config.json").read_text("utf-8"))
        self.weights = safe_open(folder / "model.safetensors", "np")
        text = default_training_text()[start : start + 8 * tokens]
        ids = Tokenizer.from_file(str(folder / "tokenizer.json")).encode(text).ids[:tokens]
        self.hidden = self.weights.get_tensor("model.embed_tokens.weight")[ids]
        rope = self.config.get("rope_theta") or self.config["rope_parameters"]["rope_theta"]
        self.dim = self.config["hidden_size"] // self.config["num_attention_heads"]
        angle = np.arange(tokens)[:, None] * rope ** (-np.arange(0, self.dim, 2) / self.dim)
        angle = np.concatenate((angle, angle), 1)
        self.cos, self.sin = np.cos(angle).astype(np.float32), np.sin(angle).astype(np.float32)

    def layer(self, index: int) -> tuple[Array, Array, Array, Array]:
        """q (Hq, T, D), k and v (Hkv, T, D), and the output's weights (Hq, hidden, D); moves on to the next layer."""
        x, half = self._normed(index, "input"), self.dim // 2
        q, k, v = (
            (x @ self._weight(index, f"self_attn.{n}_proj").T).reshape(len(x), -1, self.dim).transpose(1, 0, 2)
            for n in "qkv"
        )
        turn = lambda y: y * self.cos + np.concatenate((-y[..., half:], y[..., :half]), -1) * self.sin  # noqa: E731
        q, k, o = turn(q), turn(k), self._weight(index, "self_attn.o_proj")
        o = o.reshape(len(o), -1, self.dim).transpose(1, 0, 2)
        self.hidden = self.hidden + sum(y @ w.T for y, w in zip(attended(q, k, v, 0), o, strict=True))
        x = self._normed(index, "post_attention")
        gate = x @ self._weight(index, "mlp.gate_proj").T
        up = x @ self._weight(index, "mlp.up_proj").T
        self.hidden = self.hidden + gate / (1 + np.exp(-gate)) * up @ self._weight(index, "mlp.down_proj").T
        return q, k, v, o

    def _weight(self, index: int, name: str) -> Array:
        return self.weights.get_tensor(f"model.layers.{index}.{name}.weight")

    def _normed(self, index: int, name: str) -> Array:
        mean = np.square(self.hidden).mean(-1, keepdims=True)
        return self.hidden / np.sqrt(mean + self.config["rms_norm_eps"]) * self._weight(index, f"{name}_layernorm")


def attended(q: Array, k: Array, v: Array, first: int) -> Array:
    """Causal softmax attention of the queries from `first` on, (Hq, T - first, D)."""
    groups, tokens = len(q) // len(k), k.shape[1]
    score = q[:, first:] @ np.repeat(k, groups, 0).transpose(0, 2, 1) / np.sqrt(q.shape[2], dtype=q.dtype)
    score[:, np.triu(np.ones((tokens, tokens), bool), 1)[first:]] = -np.inf
    share = np.exp(score - score.max(-1, keepdims=True))
    return share / share.sum(-1, keepdims=True) @ np.repeat(v, groups, 0)


def errors(q: Array, k: Array, v: Array, o: Array, fitted: int, name: str, ideas: list[str]) -> list[float]:
    """Relative squared error of a block's output with its keys ("k") or values ("v") rounded, per idea."""
    groups = len(q) // len(k)
    exact = sum(y @ w.T for y, w in zip(attended(q, k, v, fitted), o, strict=True))
    norm = np.linalg.norm(v, axis=-1)
    sink = norm < SHORT_VALUE * np.median(norm, -1, keepdims=True)
    sink[:, 0] = True
    stored = {idea: [] for idea in ideas}
    for h, (x, apart) in enumerate(zip(k if name == "k" else v, sink, strict=True)):
        mean = x[:fitted][~apart[:fitted]].mean(0)
        rms = np.sqrt(np.square(x[:fitted][~apart[:fitted]] - mean).mean(0))
        scaled_x = ((x - mean) / rms).astype(np.float64)
        own = slice(h * groups, (h + 1) * groups)
        rows = (q[own, :fitted] if name == "k" else o[own]).reshape(-1, len(rms)) * rms
        seen = Seen(scaled_x[:fitted][~apart[:fitted]], rms.astype(np.float64), ridged((rows.T @ rows).astype(float)))
        for idea in ideas:
            y = (IDEAS[idea](seen)(scaled_x) * rms + mean).astype(np.float32)
            stored[idea].append(np.where(apart[:, None], x, y))
    found = []
    for idea in ideas:
        x = np.stack(stored[idea])
        out = attended(q, x, v, fitted) if name == "k" else attended(q, k, x, fitted)
        out = sum(y @ w.T for y, w in zip(out, o, strict=True))
        found.append(float(np.square(out - exact).sum() / np.square(exact).sum()))
    return found


def main() -> None:
    parser = argparse.ArgumentParser("python -m benchmarks.rounding", description=__doc__)
    parser.add_argument("--layers", type=int, nargs="+", default=[0, 3, 5, 8, 10, 12, 16, 20], help="(%(default)s)")
    parser.add_argument("--tokens", type=int, default=640, help="(%(default)s)")
    parser.add_argument("--fitted", type=int, default=400, help="of those, how many an idea sees (%(default)s)")
    parser.add_argument("--start", type=int, default=300_000, help="of the text, in characters (%(default)s)")
    parser.add_argument("--idea", nargs="+", choices=IDEAS, default=list(IDEAS), help="after 'even' (%(default)s)")
    chosen = parser.parse_args()
    demo, ideas = Demo(chosen.start, chosen.tokens), list(dict.fromkeys(["even", *chosen.idea]))
    found: dict[str, list[list[float]]] = {"k": [], "v": []}
    for index in range(max(chosen.layers) + 1):
        layer = demo.layer(index)
        for name in found if index in chosen.layers else ():
            found[name].append(errors(*layer, chosen.fitted, name, ideas))
    for name, rows in found.items():
        table = np.array(rows)
        print(f"{name}: even levels up to {CLIP} root mean squares: relative error by layer", table[:, 0].round(4))
        for idea, column in zip(ideas[1:], table.T[1:], strict=True):
            ratio = column / table[:, 0]
            print(f"{name}: {idea:28} x {np.exp(np.log(ratio).mean()):.2f}  by layer", ratio.round(2))


if __name__ == "__main__":
    main()
