"""The page shows, of several findings of one entry, the one with the most to go by."""

from tools.pages.reproduction import found_in


def test_the_finding_with_the_most_to_go_by_is_shown() -> None:
    def shown(*keys: str) -> list[str]:
        return [key for key, _ in found_in({key: {} for key in keys}).values()]

    both = "fig1-circuit-nmos-reference-0123abcd"
    for keys in (("fig1", both, "fig1-circuit-a_long_name_of_a_card"), (both, "fig1-reference-89abcdef")):
        assert shown(*keys) == [both]
    long, short = "fig2-circuit-a_long_name_of_a_card", "fig2-circuit-nmos"
    assert (shown(long, short), shown(short, long)) == ([short], [long])  # the last
