"""A pickle run on a machine that cannot call anything: what comes out is plain containers, tensors and stand-ins.

Pickles are programs that make objects of any class. Here the few things that files of weights are made of are known,
and whatever else is named becomes a stand-in that does nothing. Every size and place is checked before it is believed.
"""

from __future__ import annotations

import io
import math
import pickletools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

MOST_STEPS = 2_000_000  # of a pickle; the largest published file takes a tenth
DEEPEST = 32
DTYPES: dict[str, Any] = {
    "Float": "f4", "Double": "f8", "Half": "f2", "BFloat16": "bf16", "Long": "i8", "Int": "i4", "Short": "i2",
    "Char": "i1", "Byte": "u1", "Bool": "?",
    "F32": "f4", "F64": "f8", "F16": "f2", "BF16": "bf16", "I64": "i8", "I32": "i4", "I16": "i2", "I8": "i1",
    "U8": "u1", "BOOL": "?",
}  # fmt: skip
_LONGEST = 300  # letters of a name
DAMAGED = "cut off or damaged: get it again"
TOO_LARGE = "far larger inside than a checkpoint is: get it again"
_STRANGE = "a pickle of a kind that no checkpoint has: get the published file"


class Wrong(ValueError):
    """What a file says of itself cannot be; the text goes on from the file's name and 'is'."""


@dataclass(frozen=True)
class Storage:
    """``size`` bytes of numbers in a row; ``at()`` gives them. Whatever is not a whole number at the end is none."""

    dtype: str
    size: int
    at: Callable[[], memoryview]

    @property
    def itemsize(self) -> int:
        """Bytes of a number."""
        return 2 if self.dtype == "bf16" else np.dtype(self.dtype).itemsize

    @property
    def count(self) -> int:
        """How many numbers there are."""
        return self.size // self.itemsize


@dataclass(frozen=True)
class Tensor:
    """Where in a storage a tensor lies: ``offset`` and ``stride`` count numbers.

    Raises:
        ValueError: it would reach beyond the storage.
    """

    storage: Storage
    offset: int
    shape: tuple[int, ...]
    stride: tuple[int, ...]

    def __post_init__(self) -> None:
        if not _are_sizes((self.offset,), self.shape, self.stride):
            raise Wrong(DAMAGED)
        last = self.offset + sum((n - 1) * step for n, step in zip(self.shape, self.stride, strict=True))
        if math.prod(self.shape) > self.storage.count or (0 not in self.shape and last >= self.storage.count):
            raise Wrong(DAMAGED)

    @classmethod
    def whole(cls, storage: Storage, shape: tuple[int, ...]) -> Tensor:
        """All of a storage, row by row. Raises ValueError where it is not of that size."""
        if not _are_sizes(shape) or math.prod(shape) != storage.count:
            raise Wrong(DAMAGED)
        return cls(storage, 0, shape, tuple(math.prod(shape[at + 1 :]) for at in range(len(shape))))

    @property
    def size(self) -> int:
        """Bytes of its numbers."""
        return math.prod(self.shape) * self.storage.itemsize

    def array(self) -> npt.NDArray[Any]:
        """Its numbers, where they lie; of bfloat16, which NumPy does not know, the same values as float32.

        Raises:
            ValueError: they cannot be unpacked.
        """
        storage, wide = self.storage, self.storage.dtype == "bf16"
        flat = np.frombuffer(storage.at(), "<u2" if wide else f"<{storage.dtype}", storage.count)
        start = flat[self.offset :] if math.prod(self.shape) else flat[:0]
        view = np.lib.stride_tricks.as_strided(start, self.shape, tuple(step * flat.itemsize for step in self.stride))
        if wide:
            return (view.astype(np.uint32) << 16).view(np.float32)
        return view if view.flags.aligned else view.copy()


def _are_sizes(*several: tuple[int, ...]) -> bool:
    """Whether these are few enough, and none below 0 or beyond all reason."""
    return all(len(some) <= DEEPEST and all(type(n) is int and 0 <= n < 1 << 62 for n in some) for some in several)


@dataclass(eq=False, repr=False)
class StandIn:
    """What stands for a class, a function or one of its objects; it only remembers what the file said of it."""

    name: str
    arguments: tuple[Any, ...] = ()
    state: Any = None


_CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
_EMPTY: dict[str, Callable[[], Any]] = {"EMPTY_TUPLE": tuple, "EMPTY_LIST": list, "EMPTY_SET": list, "EMPTY_DICT": dict}
_VALUES = frozenset({
    "INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT", "STRING", "BINSTRING",
    "SHORT_BINSTRING", "UNICODE", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8", "BINBYTES", "SHORT_BINBYTES",
    "BINBYTES8", "BYTEARRAY8",
})  # fmt: skip
_CONTAINERS = ("collections.OrderedDict", "collections.defaultdict", "builtins.dict")
_THEMSELVES = (  # what only wraps its first argument
    "torch._utils._rebuild_parameter", "torch._utils._rebuild_parameter_with_state", "torch.Size", "builtins.list",
    "builtins.tuple", "builtins.set", "builtins.frozenset", "torch.jit._pickle.restore_type_tag",
)  # fmt: skip
_TENSORS = ("torch._utils._rebuild_tensor", "torch._utils._rebuild_tensor_v2")


class Machine:
    """Works through a pickle. ``storage(kind, key, count)`` gives the storage that a persistent id means."""

    def __init__(self, storage: Callable[[str, str, int], Storage]) -> None:
        self._storage = storage
        self._stack: list[Any] = []
        self._below: list[list[Any]] = []  # what lies under each mark
        self._memory: dict[int, Any] = {}
        self._steps = 0

    def run(self, stream: io.BytesIO) -> Any:
        """The object that the next pickle in ``stream`` makes; reads up to its end."""
        for instruction, argument, _ in pickletools.genops(stream):
            self._count(1)
            name = instruction.name
            if name == "STOP":
                return self._stack.pop()
            if name in _VALUES:
                self._stack.append(argument)
            elif name in _CONSTANTS:
                self._stack.append(_CONSTANTS[name])
            elif name in _EMPTY:
                self._stack.append(_EMPTY[name]())
            elif name not in ("PROTO", "FRAME"):
                self._arrange(name, argument)
        raise Wrong(DAMAGED)

    def _count(self, steps: int) -> None:
        self._steps += steps
        if self._steps > MOST_STEPS:
            raise Wrong(TOO_LARGE)

    def _arrange(self, name: str, argument: Any) -> None:
        """Instructions that keep things in mind and put them together."""
        stack = self._stack
        match name:
            case "BINPUT" | "LONG_BINPUT" | "PUT":
                self._memory[argument] = stack[-1]
            case "MEMOIZE":
                self._memory[len(self._memory)] = stack[-1]
            case "BINGET" | "LONG_BINGET" | "GET":
                stack.append(self._memory[argument])
            case "MARK":
                self._below.append(stack)
                self._stack = []
            case "TUPLE" | "FROZENSET":
                items = self._marked()
                self._stack.append(tuple(items))
            case "TUPLE1" | "TUPLE2" | "TUPLE3":
                count = int(name[-1])
                stack[-count:] = [tuple(stack[len(stack) - count :])]
            case "LIST" | "APPENDS" | "ADDITEMS":
                items = self._marked()
                self._stack.append(items) if name == "LIST" else _extended(self._stack[-1], items)
            case "APPEND":
                _extended(stack[-2], [stack.pop()])
            case "DICT" | "SETITEMS":
                items = self._marked()
                self._stack.append(filled({}, items)) if name == "DICT" else filled(self._stack[-1], items)
            case "SETITEM":
                value, key = stack.pop(), stack.pop()
                filled(stack[-1], [key, value])
            case "DUP":
                stack.append(stack[-1])
            case "POP":
                stack.pop()
            case "POP_MARK":
                self._marked()
            case _:
                self._name(name, argument)

    def _name(self, name: str, argument: Any) -> None:
        """Instructions that name classes and functions, and would have them called."""
        stack = self._stack
        match name:
            case "GLOBAL":
                stack.append(_named(*argument.split(" ", 1)))
            case "STACK_GLOBAL":
                inner, module = stack.pop(), stack.pop()
                stack.append(_named(module, inner))
            case "REDUCE" | "NEWOBJ":
                arguments, what = stack.pop(), stack.pop()
                stack.append(self._made(what, arguments))
            case "NEWOBJ_EX":
                _, arguments, what = stack.pop(), stack.pop(), stack.pop()
                stack.append(self._made(what, arguments))
            case "OBJ":
                what, *items = self._marked()
                self._stack.append(self._made(what, tuple(items)))
            case "INST":
                items = self._marked()
                self._stack.append(self._made(_named(*argument.split(" ", 1)), tuple(items)))
            case "BUILD":
                state = stack.pop()
                if isinstance(stack[-1], StandIn):
                    stack[-1].state = state
            case "BINPERSID":
                stack.append(self._referred(stack.pop()))
            case _:
                raise Wrong(_STRANGE)

    def _marked(self) -> list[Any]:
        """What lies above the last mark; it and the mark are taken away."""
        above, self._stack = self._stack, self._below.pop()
        return above

    def _referred(self, reference: Any) -> Storage | StandIn:
        """``("storage", kind, key, device, count)``, with a view of it in older files."""
        word, kind, key, _, count, *view = reference
        if word != "storage" or (view and view[0] is not None) or type(key) is not str or type(count) is not int:
            raise Wrong(_STRANGE)
        kind = kind.name.removeprefix("torch.").removesuffix("Storage")
        return self._storage(kind, key, count) if kind in DTYPES else StandIn("storage")

    def _made(self, what: Any, arguments: Any) -> Any:
        """What calling ``what`` would have made, of the few things that are known; else a stand-in."""
        name = what.name if isinstance(what, StandIn) else ""
        arguments = arguments if isinstance(arguments, tuple) else ()
        if name in _TENSORS and isinstance(arguments[0], Storage):
            return Tensor(*arguments[:4])
        if (name in _THEMSELVES or name.startswith("torch.jit._pickle.build_")) and arguments:
            return arguments[0]
        if name in _CONTAINERS:
            pairs = arguments[0] if arguments and isinstance(arguments[0], list | tuple) else ()
            self._count(len(pairs))
            return filled({}, [item for pair in pairs for item in pair[:2]])
        return StandIn(name, arguments)


def _named(module: Any, name: Any) -> StandIn:
    if type(module) is not str or type(name) is not str:  # making a text of what is nested takes for ever
        raise Wrong(_STRANGE)
    return StandIn(f"{'builtins' if module == '__builtin__' else module}.{name}")


def _extended(items: Any, more: list[Any]) -> None:
    if isinstance(items, list):
        items += more


def filled(table: Any, items: list[Any]) -> Any:
    """``table`` with keys and values in turn; what is no plain key is left out."""
    if isinstance(table, dict):
        for key, value in zip(items[::2], items[1::2], strict=True):
            if _is_plain(key):
                table[key] = value
    return table


def _is_plain(key: Any) -> bool:
    """Short texts and numbers of 64 bits: what is long or nested takes for ever to look up."""
    return len(key) <= _LONGEST if isinstance(key, str) else isinstance(key, int) and abs(key) < 1 << 63
