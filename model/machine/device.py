"""The device that a model computes on, and the dtype that it computes in."""

from dataclasses import dataclass

import torch

from magnetar.errors import UsageError

FREE_SHARE = 0.8
"""The share of a GPU's free memory that weights may take; the rest is for activations and the kernels."""


@dataclass(frozen=True, slots=True)
class Arithmetic:
    """``dtype`` is that of activations and products; weights are stored as they are stored."""

    dtype: torch.dtype
    device: torch.device

    def free_memory(self) -> int | None:
        """Bytes of the device that weights may take; None on the CPU, where ``Machine`` decides."""
        if self.device.type != "cuda":
            return None
        free, _total = torch.cuda.mem_get_info(self.device)
        return int(free * FREE_SHARE)


EXACT = Arithmetic(torch.float32, torch.device("cpu"))
"""For everything that has to be the same to the last bit on each run."""


def choose_arithmetic(device: str, dtype: str, index: int = 0) -> Arithmetic:
    """``cpu`` or ``cuda``, ``f32`` or ``bf16``; ``index`` is the GPU's. Raises ``UsageError`` where there is none."""
    if device == "cuda" and not torch.cuda.is_available():
        raise UsageError("torch sees no CUDA device here", hint="leave --device out, to run on the CPU")
    if device == "cuda" and index >= torch.cuda.device_count():
        count = torch.cuda.device_count()
        raise UsageError(
            f"process {index} of this machine has no GPU: there are {count}", hint=f"start {count} processes here"
        )
    place = torch.device("cuda", index) if device == "cuda" else torch.device("cpu")
    return Arithmetic({"f32": torch.float32, "bf16": torch.bfloat16}[dtype], place)
