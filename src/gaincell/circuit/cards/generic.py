"""Our own pair of transistors, of the 28-nm class."""

from gaincell.circuit.cards.card import Card

#: BSIM4 parameters of a 28-nm-class pair. Round numbers of that class, **not fitted to silicon**.
_GENERIC = """\
.model gaincell_n nmos level=54 version=4.5 toxe=1.5n vth0=0.40 u0=0.026 vsat=1e5 k1=0.35 k2=-0.0186
+ nfactor=1.2 eta0=0.02
.model gaincell_p pmos level=54 version=4.5 toxe=1.6n vth0=-0.40 u0=0.0095 vsat=0.8e5 k1=0.35 k2=-0.0186
+ nfactor=1.2 eta0=0.02
.subckt gaincell_nfet d g s b w=0.1u l=0.03u dvt=0
m1 d g s b gaincell_n w={w} l={l} delvto={dvt}
.ends
.subckt gaincell_pfet d g s b w=0.1u l=0.03u dvt=0
m1 d g s b gaincell_p w={w} l={l} delvto={-dvt}
.ends
"""


def generic_card() -> Card:
    """Our own 28-nm-class pair; not fitted to silicon. A_vt = 1.5 mV um is an assumption for such a node."""
    return Card(
        name="generic-28nm",
        source="generic 28-nm-class BSIM4 card, not fitted to silicon",
        text=_GENERIC,
        shortest_m=30e-9,
        narrowest_m=100e-9,
        pelgrom_v_m=(1.5e-9, 1.5e-9),
        comparator_v=0.9,
        write_shift_v=0.1,
        temperature_c=(-40.0, 125.0),
        supply_v=(0.6, 1.1),
    )
