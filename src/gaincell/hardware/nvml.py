"""Energy of a GPU's board, as NVIDIA's management library (NVML) meters it."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Literal

from gaincell.errors import InputError

#: Between two samples where there is no counter; NVML's own figure changes no more often than every 20 to 100 ms.
SAMPLE_EVERY_S = 0.05


@dataclass(frozen=True)
class Board:
    """A GPU's energy meter, open.

    Attributes:
        driver: version of its driver.
        source: the board's own counter of energy, or samples of its power summed here.
        energy_j: energy used since some time before, in joule, whenever it is called.
    """

    driver: str
    source: Literal["energy counter", "power samples"]
    energy_j: Callable[[], float]


@contextmanager
def board_energy(uuid: str) -> Iterator[Board]:
    """Open the meter of the GPU with this UUID, as torch names it (no matter which devices are visible).

    Raises:
        InputError: NVML or its Python binding is missing, or the GPU reports neither energy nor power.
    """
    try:
        import pynvml  # pyright: ignore[reportMissingImports]
    except ImportError:
        raise InputError("energy is read with NVIDIA's nvidia-ml-py; pip install 'gaincell[gpu]'.") from None
    with ExitStack() as stack:
        try:
            pynvml.nvmlInit()
            stack.callback(pynvml.nvmlShutdown)
            handle = pynvml.nvmlDeviceGetHandleByUUID(f"GPU-{uuid}")
            driver = pynvml.nvmlSystemGetDriverVersion()
            try:
                pynvml.nvmlDeviceGetTotalEnergyConsumption(handle)
                board = Board(
                    driver, "energy counter", lambda: pynvml.nvmlDeviceGetTotalEnergyConsumption(handle) / 1e3
                )
            except pynvml.NVMLError_NotSupported:  # before Volta
                summed = PowerSum(lambda: pynvml.nvmlDeviceGetPowerUsage(handle) / 1e3)
                stack.enter_context(summed.running())
                board = Board(driver, "power samples", summed.energy_j)
        except pynvml.NVMLError as error:
            raise InputError(
                f"this GPU's energy cannot be read: {error}; measuring needs NVML and a whole GPU (no MIG)."
            ) from None
        yield board


class PowerSum:
    """Energy as the sum of power samples over time, by the trapezoidal rule."""

    def __init__(self, power_w: Callable[[], float], clock: Callable[[], float] = time.perf_counter) -> None:
        """Take the first sample.

        Args:
            power_w: reads the power, in watt.
            clock: reads the time, in seconds.
        """
        self._power_w, self._clock = power_w, clock
        self._lock = threading.Lock()
        self._time_s, self._last_w, self._sum_j = clock(), power_w(), 0.0

    def energy_j(self) -> float:
        """Take a sample, and tell the energy since the first."""
        with self._lock:
            now_s, now_w = self._clock(), self._power_w()
            self._sum_j += (now_s - self._time_s) * (now_w + self._last_w) / 2
            self._time_s, self._last_w = now_s, now_w
            return self._sum_j

    @contextmanager
    def running(self) -> Iterator[None]:
        """Take samples every `SAMPLE_EVERY_S`, in a thread, until the block ends."""
        ended = threading.Event()

        def sample() -> None:
            while not ended.wait(SAMPLE_EVERY_S):
                self.energy_j()

        thread = threading.Thread(target=sample, daemon=True)
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()
