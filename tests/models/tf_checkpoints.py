"""TensorFlow checkpoints as they are published: a LevelDB table as index, raw values beside it."""

from __future__ import annotations

import numpy as np


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    return bytes([*out, value])


def _entry(shape, offset, size, kind=1) -> bytes:
    dims = b"".join(b"\x12" + _varint(len(d)) + d for d in (b"\x08" + _varint(n) for n in shape))
    message = b"\x08" + _varint(kind) + b"\x12" + _varint(len(dims)) + dims
    if offset:
        message += b"\x20" + _varint(offset)
    return message + b"\x28" + _varint(size) + b"\x35\x01\x02\x03\x04"


def _block(pairs, share: bool) -> bytes:
    """Entries with shared prefixes, then one restart point; behind it a byte for compression and a checksum."""
    out, before = b"", b""
    for key, value in pairs:
        common = 0
        while share and common < min(len(key), len(before)) and key[common] == before[common]:
            common += 1
        out += _varint(common) + _varint(len(key) - common) + _varint(len(value)) + key[common:] + value
        before = key
    return out + (0).to_bytes(4, "little") + (1).to_bytes(4, "little")


def tf_checkpoint(variables: dict[str, np.ndarray], per_block: int = 40) -> tuple[bytes, bytes]:
    """(index, data) of ``variables``, and of an integer step counter, as TensorFlow writes them."""
    data, entries = b"", [(b"", b"\x08\x01\x1a\x02\x08\x01")]
    for name in sorted([*variables, "global_step"]):
        values = variables[name].astype("<f4").tobytes() if name in variables else b"\1" + bytes(7)
        shape = variables[name].shape if name in variables else ()
        kind = 1 if name in variables else 9
        entries.append((name.encode(), _entry(shape, len(data), len(values), kind)))
        data += values
    table, handles = b"", []
    for first in range(0, len(entries), per_block):
        part = entries[first : first + per_block]
        block = _block(part, share=True)
        handles.append((part[-1][0], _varint(len(table)) + _varint(len(block))))
        table += block + b"\0" + bytes(4)
    places = []
    for block in (_block([], share=False), _block(handles, share=False)):
        places.append(_varint(len(table)) + _varint(len(block)))
        table += block + b"\0" + bytes(4)
    footer = (places[0] + places[1]).ljust(40, b"\0")
    return table + footer + (0xDB4775248B80FB57).to_bytes(8, "little"), data


def spleeter_variables(stems: int, filters=(4, 6, 8, 8, 10, 12), seed: int = 0) -> dict[str, np.ndarray]:
    """Random variables of a small Spleeter, under the names that are published."""
    rng = np.random.default_rng(seed)
    made: dict[str, np.ndarray] = {}

    def named(kind: str, number: int) -> str:
        return f"{kind}_{number}" if number else kind

    def convolution(kind: str, number: int, shape: tuple[int, ...], outputs: int) -> None:
        scale = 1.5 / np.sqrt(np.prod(shape) / outputs)
        made[f"{named(kind, number)}/kernel"] = (rng.standard_normal(shape) * scale).astype(np.float32)
        made[f"{named(kind, number)}/bias"] = (rng.standard_normal(outputs) * 0.1).astype(np.float32)

    for stem in range(stems):
        sizes = [2, *filters]
        for i in range(6):
            convolution("conv2d", 7 * stem + i, (5, 5, sizes[i], sizes[i + 1]), sizes[i + 1])
        channels = filters[-1]
        ups = [*filters[-2::-1], 1]
        for i, out in enumerate(ups):
            convolution("conv2d_transpose", 6 * stem + i, (5, 5, out, channels), out)
            channels = 2 * out
        convolution("conv2d", 7 * stem + 6, (4, 4, 1, 2), 2)
        for i, size in enumerate([*filters, *ups]):
            name = named("batch_normalization", 12 * stem + i)
            made[f"{name}/gamma"] = rng.uniform(0.5, 1.5, size).astype(np.float32)
            made[f"{name}/beta"] = (rng.standard_normal(size) * 0.1).astype(np.float32)
            made[f"{name}/moving_mean"] = (rng.standard_normal(size) * 0.1).astype(np.float32)
            made[f"{name}/moving_variance"] = rng.uniform(0.5, 1.5, size).astype(np.float32)
    return made
