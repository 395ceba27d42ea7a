"""Our own pair of transistors, of the 28-nm class, with or without the leakage of its gates and junctions."""

from gaincell.circuit.cards.card import Card, Corner, Leakage

#: What a slow transistor has more of threshold, in V, and less of mobility, as a fraction; a fast one has the reverse.
#: Assumptions, of the size that foundries of that class guard against; of no process.
CORNER_V, CORNER_MOBILITY = 0.03, 0.06
_SLOWNESS = {"t": 0, "s": 1, "f": -1}

#: BSIM4 parameters of a 28-nm-class pair. Round numbers of that class, **not fitted to silicon**.
_GENERIC = """\
.model gaincell_n nmos level=54 version=4.5 toxe=1.5n vth0={vth_n:.2f} u0={u_n:g} vsat=1e5 k1=0.35 k2=-0.0186
+ nfactor=1.2 eta0=0.02{leak_n}
.model gaincell_p pmos level=54 version=4.5 toxe=1.6n vth0=-{vth_p:.2f} u0={u_p:g} vsat=0.8e5 k1=0.35 k2=-0.0186
+ nfactor=1.2 eta0=0.02{leak_p}
.subckt gaincell_nfet d g s b w=0.1u l=0.03u dvt=0
m1 d g s b gaincell_n w={{w}} l={{l}} delvto={{dvt}}
.ends
.subckt gaincell_pfet d g s b w=0.1u l=0.03u dvt=0
m1 d g s b gaincell_p w={{w}} l={{l}} delvto={{-dvt}}
.ends
"""

#: By how much a high-k gate tunnels less than an oxide of the same electrical thickness, NMOS and PMOS: what Intel told
#: of its 45 nm process beside the oxynitride of its 65 nm process (Mistry et al., IEDM 2007, 247).
HIGH_K = (25.0, 1000.0)
_TUNNELLING: dict[Leakage, tuple[float, float]] = {"oxide": (1.0, 1.0), "high-k": HIGH_K}
#: BSIM4 scales tunnelling with toxref / toxe, and its own toxref is 3 nm; its other coefficients are of SiO2.
_TOXREF_NM = 3.0
#: Junctions at the gate's edge, in A per m of width at 27 degrees: 10 fA/um; an assumption. An ideality of 2 has them
#: rise with temperature as generation in the depletion layer does, by half the band gap.
_JUNCTION = 1e-8
#: BSIM4's GIDL coefficient A of NMOS and PMOS, for 1 pA/um at 0.9 V between drain and gate; an assumption. The others
#: are BSIM4's own B and C, and an offset of 0.2 V, since at 0.9 V its own 0.8 V leaves none.
_GIDL = (2.86e-8, 8.17e-8)


def _leak(leakage: Leakage, which: int) -> str:
    """Model parameters of the NMOS (0) or the PMOS (1)."""
    if leakage == "off":
        return ""
    toxref = _TOXREF_NM / _TUNNELLING[leakage][which]
    return (
        f"\n+ igcmod=1 igbmod=1 toxref={toxref:g}n agidl={_GIDL[which]:g} bgidl=2.3e9 cgidl=0.5 egidl=0.2"
        f"\n+ jswgs={_JUNCTION:g} jswgd={_JUNCTION:g} njs=2 njd=2"
    )


def generic_card(corner: Corner = "tt", leakage: Leakage = "off") -> Card:
    """Our own 28-nm-class pair; not fitted to silicon.

    Assumptions for such a node: A_vt = 1.5 mV um, the corners (`CORNER_V`, `CORNER_MOBILITY`), and the ranges of
    temperature and supply, in which BSIM4's own laws of temperature hold, with their default coefficients.

    Args:
        corner: of the process.
        leakage: "off": nothing but the channel conducts. "oxide" and "high-k" add what tunnels through the gate, in
            SiO2 and in what high-k gates have instead (`HIGH_K`), GIDL and junctions; `gaincell.circuit.leakage` has
            what these come to.
    """
    slow_n, slow_p = (_SLOWNESS[letter] for letter in corner)
    text = _GENERIC.format(
        vth_n=0.40 + CORNER_V * slow_n,
        u_n=0.026 * (1 - CORNER_MOBILITY * slow_n),
        vth_p=0.40 + CORNER_V * slow_p,
        u_p=0.0095 * (1 - CORNER_MOBILITY * slow_p),
        leak_n=_leak(leakage, 0),
        leak_p=_leak(leakage, 1),
    )
    at = "" if corner == "tt" else f", corner {corner} (assumed)"
    leaks = "" if leakage == "off" else f", {leakage} gate, GIDL and junction leakage (assumed)"
    return Card(
        name="-".join(
            ["generic-28nm", *([] if leakage == "off" else [leakage]), *([] if corner == "tt" else [corner])]
        ),
        source=f"generic 28-nm-class BSIM4 card, not fitted to silicon{leaks}{at}",
        text=text,
        corner=corner,
        shortest_m=30e-9,
        narrowest_m=100e-9,
        pelgrom_v_m=(1.5e-9, 1.5e-9),
        comparator_v=0.9,
        write_shift_v=0.1,
        temperature_c=(-40.0, 125.0),
        supply_v=(0.6, 1.1),
    )
