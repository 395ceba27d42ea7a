"""Our own pair of transistors, of the 28-nm class."""

from gaincell.circuit.cards.card import Card, Corner

#: What a slow transistor has more of threshold, in V, and less of mobility, as a fraction; a fast one has the reverse.
#: Assumptions, of the size that foundries of that class guard against; of no process.
CORNER_V, CORNER_MOBILITY = 0.03, 0.06
_SLOWNESS = {"t": 0, "s": 1, "f": -1}

#: BSIM4 parameters of a 28-nm-class pair. Round numbers of that class, **not fitted to silicon**.
_GENERIC = """\
.model gaincell_n nmos level=54 version=4.5 toxe=1.5n vth0={vth_n:.2f} u0={u_n:g} vsat=1e5 k1=0.35 k2=-0.0186
+ nfactor=1.2 eta0=0.02
.model gaincell_p pmos level=54 version=4.5 toxe=1.6n vth0=-{vth_p:.2f} u0={u_p:g} vsat=0.8e5 k1=0.35 k2=-0.0186
+ nfactor=1.2 eta0=0.02
.subckt gaincell_nfet d g s b w=0.1u l=0.03u dvt=0
m1 d g s b gaincell_n w={{w}} l={{l}} delvto={{dvt}}
.ends
.subckt gaincell_pfet d g s b w=0.1u l=0.03u dvt=0
m1 d g s b gaincell_p w={{w}} l={{l}} delvto={{-dvt}}
.ends
"""


def generic_card(corner: Corner = "tt") -> Card:
    """Our own 28-nm-class pair; not fitted to silicon.

    Assumptions for such a node: A_vt = 1.5 mV um, the corners (`CORNER_V`, `CORNER_MOBILITY`), and the ranges of
    temperature and supply, in which BSIM4's own laws of temperature hold, with their default coefficients.
    """
    slow_n, slow_p = (_SLOWNESS[letter] for letter in corner)
    text = _GENERIC.format(
        vth_n=0.40 + CORNER_V * slow_n,
        u_n=0.026 * (1 - CORNER_MOBILITY * slow_n),
        vth_p=0.40 + CORNER_V * slow_p,
        u_p=0.0095 * (1 - CORNER_MOBILITY * slow_p),
    )
    at = "" if corner == "tt" else f", corner {corner} (assumed)"
    return Card(
        name="generic-28nm" if corner == "tt" else f"generic-28nm-{corner}",
        source=f"generic 28-nm-class BSIM4 card, not fitted to silicon{at}",
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
