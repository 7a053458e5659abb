"""Number format of a run (`train.scaler.compute_type`). Training and evaluation use the same format."""

import contextlib
import os
from collections.abc import Iterator, Sequence
from typing import Any

import attrs
import torch
from torch import Tensor, nn
from torch.amp import GradScaler
from torch.autograd import backward

from ddpkit.data.nested import map_tensors
from ddpkit.errors import ComponentName, add_component_note
from ddpkit.training.gradients import Clipping


@contextlib.contextmanager
def select_kernels(matmul_precision: str, *, deterministic: bool) -> Iterator[None]:
    """Select the kernels that torch uses in this process inside the context.

    Args:
        matmul_precision: Torch's precision of float32 matrix products: `highest`, `high`, `medium`.
        deterministic: Use only kernels with bit-identical results in each run. An operation without such a kernel raises
            RuntimeError.
    """
    before = (torch.get_float32_matmul_precision(), torch.are_deterministic_algorithms_enabled())
    if deterministic:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # cuBLAS reads it at its first call
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
    """Calls a model in the number format of the run, and applies gradients to its weights."""

    dtype: torch.dtype
    """Format of weights and images."""
    device_type: str = "cpu"
    mixed: torch.dtype | None = None
    """16-bit format that autocast uses; None: no autocast."""
    channels_last: bool = False
    """Whether images and convolutions use this memory format: faster on GPUs that support it for 16-bit formats."""
    scaler: GradScaler | None = None
    """Loss scaler, which keeps small gradients within the range of float16. It skips a step whose gradients overflow. Gradients
    are reduced over ranks before, so all ranks skip the same steps."""
    model_name: ComponentName | None = None
    """Name of the model, for messages."""
    optimizer_name: ComponentName | None = None
    """Name of the optimizer, for messages."""

    @classmethod
    def of(cls, compute_type: str, device: torch.device, **fields: Any) -> "Precision":
        """Create the precision that `train.scaler.compute_type` names, on `device`; `fields`: the other fields."""
        if compute_type not in MIXED:
            return cls(getattr(torch, compute_type), device.type, **fields)
        scaler = GradScaler(device.type) if compute_type == "float16" else None
        return cls(torch.float32, device.type, MIXED[compute_type], scaler=scaler, **fields)

    def prepare(self, model: nn.Module) -> nn.Module:
        """Convert a model to this format.

        Call it before the model is wrapped, and before the optimizer gets its parameters.
        """
        model = model.to(self.dtype)
        return model.to(memory_format=torch.channels_last) if self.channels_last else model

    def __call__(self, network: nn.Module, *inputs: Any) -> Any:
        """Return the model's outputs, in at least float32.

        Inputs and outputs may be tensors in lists and mappings. Integer inputs keep their dtype. If the images are a list, the
        model must combine them into a batch itself.
        """
        formatted = [map_tensors(self.formatted, value) for value in inputs]
        try:
            if self.mixed is None:
                return network(*formatted)
            with torch.autocast(self.device_type, self.mixed):
                outputs = network(*formatted)
        except Exception as error:
            add_component_note(error, self.model_name)
            raise
        return map_tensors(to_float32, outputs)

    def formatted(self, values: Tensor) -> Tensor:
        # Integer images keep their dtype: they are raw pixel values, which a transform must scale first.
        if values.dtype != self.dtype and values.is_floating_point():
            values = values.to(self.dtype)
        if self.channels_last and values.ndim == 4:  # noqa: PLR2004 - B, C, H, W
            return values.contiguous(memory_format=torch.channels_last)
        return values

    def state_dict(self) -> dict[str, Any]:
        """Return the scaler's state; {} without a scaler."""
        return {} if self.scaler is None else self.scaler.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore the scaler's state, if there is a scaler."""
        if self.scaler is not None:
            self.scaler.load_state_dict(state)

    def backward(self, loss: Tensor, **options: Any) -> None:
        """Add the gradients of a scalar loss, scaled by the scaler if there is one; `options`: those of torch's function."""
        backward(loss if self.scaler is None else self.scaler.scale(loss), **options)

    def step(self, optimizer: Any, clippings: Sequence[Clipping], *, skip_nonfinite: bool) -> bool:
        """Clip the gradients and make an optimizer step. Returns whether the step counts.

        Args:
            optimizer: Optimizer, or several as one.
            clippings: Limits of the gradient norm. With `skip_nonfinite`, they must contain all parameters.
            skip_nonfinite: Whether to skip a step whose gradient is not finite; such a step does not count. The check waits for
                the device. Gradients are reduced over ranks before, so all ranks make the same decision.
        """
        if self.scaler is not None:
            if not has_gradients(optimizer):  # the scaler raises an error for a step without any gradient
                return True
            self.scaler.unscale_(optimizer)
        is_fine = True
        for each in clippings:
            norm = nn.utils.clip_grad_norm_(each.parameters, each.max_norm)
            is_fine = is_fine and (not skip_nonfinite or bool(torch.isfinite(norm)))
        try:
            if self.scaler is not None:
                # Torch's fused SGD leaves its momentum uninitialised if it handles an overflow in its first step itself. With
                # this flag off, the scaler skips the step.
                optimizer._step_supports_amp_scaling = False  # noqa: SLF001
                if is_fine:
                    self.scaler.step(optimizer)  # skips the step itself if gradients overflowed
                self.scaler.update()
            elif is_fine:
                optimizer.step()
        except Exception as error:
            add_component_note(error, self.optimizer_name)
            raise
        return is_fine


def has_gradients(optimizer: Any) -> bool:
    return any(parameter.grad is not None for group in optimizer.param_groups for parameter in group["params"])


def to_float32(values: Tensor) -> Tensor:
    """Return floating-point values as float32; integers unchanged."""
    return values.float() if values.is_floating_point() else values
