"""The number format of a run (`train.scaler.compute_type`): the same in training and evaluation."""

import contextlib
import math
import os
from collections.abc import Iterable, Iterator
from typing import Any

import attrs
import torch
from torch import Tensor, nn
from torch.amp import GradScaler
from torch.autograd import backward
from torch.optim import Optimizer

from ddpkit.data.nested import mapped


@contextlib.contextmanager
def kernels(matmul_precision: str, *, deterministic: bool) -> Iterator[None]:
    """Torch's choice of kernels in this process, while it lasts.

    Args:
        matmul_precision: Torch's word for float32 products: `highest`, `high`, `medium`.
        deterministic: Only those that repeat to the bit; an operation without one raises RuntimeError.
    """
    before = (torch.get_float32_matmul_precision(), torch.are_deterministic_algorithms_enabled())
    if deterministic:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # which cuBLAS wants before its first call
    torch.set_float32_matmul_precision(matmul_precision)
    torch.use_deterministic_algorithms(deterministic)
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before[0])
        torch.use_deterministic_algorithms(before[1])


MIXED = {"bfloat16": torch.bfloat16, "float16": torch.float16}


@attrs.frozen
class Precision:
    """How a model is called, and how gradients reach its weights."""

    dtype: torch.dtype
    """Of weights and images."""
    device_type: str = "cpu"
    mixed: torch.dtype | None = None
    """Of what autocast computes in fewer bits."""
    channels_last: bool = False
    """Memory format of images and convolutions: faster on GPUs that have it for 16 bits."""
    scaler: GradScaler | None = None
    """Keeps small gradients within float16's range. It skips a step whose gradients overflow: those are reduced, so all
    ranks skip together."""

    @classmethod
    def of(cls, compute_type: str, device: torch.device, *, channels_last: bool = False) -> "Precision":
        """From the TOML's word."""
        if compute_type not in MIXED:
            return cls(getattr(torch, compute_type), device.type, channels_last=channels_last)
        scaler = GradScaler(device.type) if compute_type == "float16" else None
        return cls(torch.float32, device.type, MIXED[compute_type], channels_last=channels_last, scaler=scaler)

    def prepare(self, model: nn.Module) -> nn.Module:
        """The model in this format, before it is wrapped and before the optimizer sees its parameters."""
        model = model.to(self.dtype)
        return model.to(memory_format=torch.channels_last) if self.channels_last else model

    def __call__(self, network: nn.Module, *inputs: Any) -> Any:
        """The outputs, in at least float32; inputs and outputs may be tensors in lists and mappings.

        Integer images stay what they are: they are no images yet. Images in a list are put together by the model.
        """
        inputs = tuple(mapped(self.formatted, value) for value in inputs)
        if self.mixed is None:
            return network(*inputs)
        with torch.autocast(self.device_type, self.mixed):
            outputs = network(*inputs)
        return mapped(in_single, outputs)

    def formatted(self, values: Tensor) -> Tensor:
        """An input of the network."""
        values = values.to(self.dtype) if values.is_floating_point() else values
        if self.channels_last and values.ndim == 4:  # noqa: PLR2004 - B, C, H, W
            return values.contiguous(memory_format=torch.channels_last)
        return values

    def state_dict(self) -> dict[str, Any]:
        """The scaler's; empty without one."""
        return {} if self.scaler is None else self.scaler.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Put it back."""
        if self.scaler is not None:
            self.scaler.load_state_dict(state)

    def backward(self, loss: Tensor) -> None:
        """Add the gradients of a scalar."""
        backward(loss if self.scaler is None else self.scaler.scale(loss))

    def step(self, optimizer: Optimizer, parameters: Iterable[nn.Parameter], clip_norm: float, *, skip_nonfinite: bool) -> bool:
        """Clip the whole gradient, unless `clip_norm` is 0, and step; returns whether the step counts.

        `skip_nonfinite`: one whose gradient is not finite does not; to know it, the device is waited for. Gradients are
        reduced, so all ranks decide alike.
        """
        if self.scaler is not None:
            self.scaler.unscale_(optimizer)
        is_fine = True
        if clip_norm or skip_nonfinite:
            norm = nn.utils.clip_grad_norm_(parameters, clip_norm or math.inf)
            is_fine = not skip_nonfinite or bool(torch.isfinite(norm))
        if self.scaler is not None:
            # Torch's fused SGD leaves its momentum unset when it is told of an overflow in its first step: the scaler skips it.
            optimizer._step_supports_amp_scaling = False  # type: ignore[attr-defined]  # noqa: SLF001
            self.scaler.step(optimizer)  # passes over what overflowed by itself
            self.scaler.update()
        elif is_fine:
            optimizer.step()
        return is_fine


def in_single(values: Tensor) -> Tensor:
    """Of mixed precision, float32; whole numbers as they are."""
    return values.float() if values.is_floating_point() else values
