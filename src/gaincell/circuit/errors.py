"""What can go wrong in a circuit simulation; each message ends with what ngspice last said."""


class CircuitError(RuntimeError):
    """A simulation failed while running (exit code 1 at the command line).

    Attributes:
        log: the last lines of what ngspice printed; empty where it printed nothing.
    """

    def __init__(self, sentence: str, log: str = "") -> None:
        self.log = log
        last = " ".join(log.split())
        super().__init__(f"{sentence} ngspice said: {last}" if last else sentence)


class NotInstalled(CircuitError):  # noqa: N818  (named for what happened, as the field does)
    """There is no ngspice to run."""


class NotConverged(CircuitError):  # noqa: N818
    """The solver found no operating point, or its time step became too small."""


class NoData(CircuitError):  # noqa: N818
    """ngspice ended without results: a netlist that it refused, or one without an analysis."""


class StoppedEarly(CircuitError):  # noqa: N818
    """The run was killed, or its results end before the time that was asked for."""


class UnknownSignal(CircuitError):  # noqa: N818
    """A voltage or current was asked for that the circuit does not have."""


class TimedOut(CircuitError):  # noqa: N818
    """The run took longer than its time limit, and was ended."""
