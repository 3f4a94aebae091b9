"""A pretended second device: tensors that compute on the CPU, say that they are elsewhere, and never mix with others.

`elsewhere()` makes "cuda" such a device: whatever is made or moved there is computed on the CPU, carries a tag, and an
operation on tensors of both devices raises as a GPU would. What a GPU allows is allowed: numbers without dimensions may
come from the CPU, and indices too.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_map

DEVICE = torch.device("cuda:0")
_INDEXING = (
    "index.Tensor",
    "index_put_.default",
    "_unsafe_index.Tensor",
    "index_put.default",
    "_index_put_impl_.default",
)


class MixedDevices(RuntimeError):
    """Tensors of both devices in one operation."""


class ElsewhereTensor(Tensor):
    """A tensor that says that it is on DEVICE."""

    @staticmethod
    def of(tensor: Tensor) -> ElsewhereTensor:
        if isinstance(tensor, ElsewhereTensor):
            return tensor
        made: ElsewhereTensor = Tensor._make_subclass(ElsewhereTensor, tensor.detach(), tensor.requires_grad)
        made.here = tensor.detach()
        return made

    here: Tensor
    """The same numbers as a plain tensor, which shares its memory."""

    @property
    def device(self) -> torch.device:  # type: ignore[override]
        return DEVICE

    @property
    def is_cuda(self) -> bool:  # type: ignore[override]
        return True

    def __repr__(self, **options: Any) -> str:  # type: ignore[override]
        return f"Elsewhere({_plain(self)!r})"

    __torch_function__ = torch._C._disabled_torch_function_impl  # type: ignore[assignment]

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:  # type: ignore[override]
        options = dict(kwargs or {})
        leaves = _tensors((args, options))
        strangers = [t for t in leaves if not isinstance(t, cls) and t.dim() > 0]
        copying = func in (torch.ops.aten.copy_.default, torch.ops.aten._to_copy.default)
        if strangers and not copying and str(func).removeprefix("aten.") not in _INDEXING:
            raise MixedDevices(
                f"Expected all tensors to be on the same device, but {func} got one on the CPU of shape "
                f"{tuple(strangers[0].shape)}, and one on {DEVICE}"
            )
        moved = "device" in options and torch.device(options["device"]).type == "cpu"
        if "device" in options:
            options["device"] = torch.device("cpu")
        out = func(*tree_map(_plain, tuple(args)), **tree_map(_plain, options))
        name = str(func).split(".")[1]
        if name.endswith("_") and not name.endswith("__"):  # in place: the same tensor
            return args[0]
        return out if moved else tree_map(lambda x: ElsewhereTensor.of(x) if isinstance(x, Tensor) else x, out)


class _Moving(TorchFunctionMode):
    """Catches what makes or moves tensors by the name of a device, before torch looks for that device."""

    def __torch_function__(
        self, func: Callable[..., Any], types: Sequence[type], args: Sequence[Any] = (), kwargs: Any = None
    ) -> Any:
        options = dict(kwargs or {})
        name = getattr(func, "__name__", "")
        if name == "numpy" and args and isinstance(args[0], ElsewhereTensor):
            raise TypeError("can't convert cuda:0 device type tensor to numpy. Use Tensor.cpu() first")
        if name == "cuda":
            return ElsewhereTensor.of(args[0])
        if name == "cpu":
            return _plain(args[0])
        if name == "tolist":
            return _plain(args[0]).tolist()
        if name == "to" and args and isinstance(args[0], Tensor):
            return _moved(func, args, options)
        device = options.get("device")
        if device is not None and torch.device(device).type == DEVICE.type:
            options["device"] = torch.device("cpu")
            return tree_map(lambda x: ElsewhereTensor.of(x) if isinstance(x, Tensor) else x, func(*args, **options))
        return func(*args, **options)


def _moved(func: Callable[..., Any], args: Sequence[Any], options: dict[str, Any]) -> Tensor:
    """`tensor.to(...)`: where the device it names, or the tensor it is to be like, is."""
    own, *rest = args
    dtype, target = options.get("dtype"), options.get("device")
    for argument in rest:
        if isinstance(argument, torch.dtype):
            dtype = argument
        elif isinstance(argument, torch.device | str):
            target = argument
        elif isinstance(argument, Tensor):
            dtype, target = argument.dtype, argument.device
    result: Tensor = own if dtype is None else func(own, dtype)
    if target is None or torch.device(target).type == own.device.type:
        return result
    if torch.device(target).type == DEVICE.type:
        there: Tensor = _Move.apply(result) if result.requires_grad else ElsewhereTensor.of(result)  # type: ignore[no-untyped-call]
        return there
    here: Tensor = _Back.apply(result) if result.requires_grad else _plain(result)  # type: ignore[no-untyped-call]
    return here


class _Move(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, tensor: Tensor) -> Tensor:
        return ElsewhereTensor.of(_plain(tensor))

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Any:
        return _plain(gradient)


class _Back(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, tensor: Tensor) -> Any:
        return _plain(tensor)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return ElsewhereTensor.of(gradient)


def _plain(value: Any) -> Any:
    return value.here if isinstance(value, ElsewhereTensor) else value


def _tensors(tree: Any) -> list[Tensor]:
    return [leaf for leaf in torch.utils._pytree.tree_leaves(tree) if isinstance(leaf, Tensor)]


@contextmanager
def elsewhere() -> Iterator[torch.device]:
    """Pretend that there is a device "cuda:0"."""
    before = torch.__future__.get_overwrite_module_params_on_conversion()
    torch.__future__.set_overwrite_module_params_on_conversion(True)  # or a moved module keeps its plain parameters
    submit = ThreadPoolExecutor.submit

    def submit_elsewhere(pool: ThreadPoolExecutor, work: Callable[..., Any], /, *args: Any, **options: Any) -> Any:
        def run() -> Any:
            with _Moving():  # a mode is one thread's own
                return work(*args, **options)

        return submit(pool, run)

    try:
        with (
            _Moving(),
            patch.object(ThreadPoolExecutor, "submit", submit_elsewhere),
            patch("torch.cuda.get_device_name", lambda device: "a pretended GPU"),
        ):
            yield DEVICE
    finally:
        torch.__future__.set_overwrite_module_params_on_conversion(before)
