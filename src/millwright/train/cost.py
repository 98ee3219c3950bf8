"""What each stage of a training costs: seconds, rows a second, peak memory."""

import resource
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from millwright.records import JsonObject

_STATUS, _RESET = Path("/proc/self/status"), Path("/proc/self/clear_refs")


@dataclass
class Clock:
    """The cost of the stages that have run, by name; they follow one another."""

    stages: dict[str, JsonObject] = field(default_factory=dict)
    _peak: int = 0
    _rows: dict[str, int] = field(default_factory=dict)

    @contextmanager
    def stage(self, name: str, rows: int | Callable[[], int]) -> Iterator[None]:
        """Measure what runs inside: seconds, `rows` a second, and the process's peak memory meanwhile.

        Where only what runs inside finds out how many rows there are, `rows` is called after it. What has
        run under the same name before counts too, and its rows are the same ones: features are asked for
        again where they are cached.
        """
        self._peak = max(self._peak, peak_memory_bytes())
        is_own_peak = _reset_peak()
        start = time.perf_counter()
        yield
        before = self.stages.get(name, {})
        seconds = time.perf_counter() - start + before.get("seconds", 0.0)
        peak = peak_memory_bytes()
        self._peak = max(self._peak, peak)
        counted = rows if isinstance(rows, int) else rows()
        self._rows[name] = max(counted, self._rows.get(name, 0))
        cost: JsonObject = {
            "seconds": round(seconds, 3),
            "rows_per_second": round(self._rows[name] / max(seconds, 1e-9), 1),
        }
        if is_own_peak:
            cost["peak_memory_bytes"] = max(peak, before.get("peak_memory_bytes", 0))
        self.stages[name] = cost

    def peak_memory_bytes(self) -> int:
        """The process's peak memory so far, over all stages."""
        return max(self._peak, peak_memory_bytes())


def peak_memory_bytes() -> int:
    """The process's peak resident memory: since the last reset where Linux allows one, else of all time."""
    try:
        lines = _STATUS.read_text(encoding="ascii").splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:"))
    except (OSError, StopIteration):
        unit = 1 if sys.platform == "darwin" else 1024
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def _reset_peak() -> bool:
    """Let Linux count the peak anew; False where it won't."""
    try:
        _RESET.write_text("5", encoding="ascii")
    except OSError:
        return False
    return True
