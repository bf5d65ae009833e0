"""Files that ``torch.load`` reads, written without torch: a zip of a pickle of the structure, and of the bytes.

The pickle is written instruction by instruction: plain values, and for a tensor what torch itself writes.
"""

import struct
import zipfile
from collections.abc import Mapping
from io import FileIO
from typing import Any

import numpy as np

from purenn.errors import refusal
from purenn.files.content import Content, Entry
from purenn.files.dtypes import to_bytes
from purenn.files.safetensors import CHUNK
from stateful.checkpoint_storage import STORAGES, TYPES

_TYPED = {dtype: name for name, dtype in STORAGES.items() if dtype}
_UNTYPED = {dtype: name for name, dtype in TYPES.items() if name.startswith(("float8", "float4", "uint"))}
_ALIGNMENT = 64  # of the bytes in the file, so that torch can map it


def write_torch(file: FileIO, structure: Any, content: Content) -> None:
    """Writes a structure of dicts, lists and leaves.

    Args:
        file: open for writing and seeking, at its beginning.
        structure: dicts, lists and tuples; a leaf is a scalar, or the name of an array as a `Name`.
        content: the arrays.

    Errors:
        TypeError for dtypes that torch lacks, and for PRNG keys.
    """
    for name, entry in content.entries.items():
        if name in content.keys:
            remedy = "Save jax.random.key_data(key)."
            raise refusal("save", f"{name} must be no PRNG key in a file of torch's", {name: "key"}, remedy, TypeError)
        if str(entry.dtype) not in {**_TYPED, **_UNTYPED} or (
            entry.dtype.name.startswith("float4") and not _pairs(entry)
        ):
            got = {"dtype": str(entry.dtype), "shape": entry.shape}
            raise refusal("save", f"{name} must have a dtype that torch has", got, "Save as .safetensors.", TypeError)
    numbers = {name: number for number, name in enumerate(content.entries)}
    pickle = _Pickle(content, numbers)
    pickle.value(structure)
    with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
        _member(archive, file, "data.pkl", np.frombuffer(pickle.finished(), np.uint8))
        _member(archive, file, "byteorder", np.frombuffer(b"little", np.uint8))
        for name, number in numbers.items():
            _member(archive, file, f"data/{number}", to_bytes(content.entries[name].read()))
        _member(archive, file, "version", np.frombuffer(b"3\n", np.uint8))


class Name(str):
    """The name of an array, where a structure has the array."""


def _pairs(entry: Entry) -> bool:
    return bool(entry.shape) and entry.shape[-1] % 2 == 0


def _member(archive: zipfile.ZipFile, file: FileIO, name: str, raw: np.ndarray) -> None:
    info = zipfile.ZipInfo(f"archive/{name}")
    info.external_attr = 0o600 << 16
    wide = raw.size > 1 << 30
    # a field that readers pass over moves the bytes to their place
    start = file.tell() + 30 + len(info.filename.encode()) + 4 + 20 * wide
    padding = -start % _ALIGNMENT
    info.extra = struct.pack("<HH", 0x4246, padding) + b"Z" * padding
    with archive.open(info, "w", force_zip64=wide) as member:
        for place in range(0, raw.size, CHUNK):
            member.write(raw[place : place + CHUNK].data)


class _Pickle:
    """A pickle of protocol 2, being written."""

    def __init__(self, content: Content, numbers: Mapping[str, int]):
        self._content, self._numbers = content, numbers
        self._out = bytearray(b"\x80\x02")

    def finished(self) -> bytes:
        """The pickle."""
        return bytes(self._out) + b"."

    def value(self, value: Any) -> None:
        """Writes a value, with all that is in it."""
        if isinstance(value, Name):
            self._tensor(value)
        elif isinstance(value, Mapping):
            self._out += b"}("
            for key, child in value.items():
                self._scalar(key)
                self.value(child)
            self._out += b"u"
        elif isinstance(value, (list, tuple)):
            self._out += b"](" if isinstance(value, list) else b"("
            for child in value:
                self.value(child)
            self._out += b"e" if isinstance(value, list) else b"t"
        else:
            self._scalar(value)

    def _scalar(self, value: Any) -> None:
        if value is None or isinstance(value, bool):
            self._out += {None: b"N", True: b"\x88", False: b"\x89"}[value]
        elif isinstance(value, str):
            text = value.encode("utf-8", "surrogatepass")
            self._out += b"X" + struct.pack("<I", len(text)) + text
        elif isinstance(value, int):
            self._int(value)
        elif isinstance(value, float):
            self._out += b"G" + struct.pack(">d", value)
        else:
            raise self._refused(value)

    def _refused(self, value: Any) -> Exception:
        shown = f"an integer of {value.bit_length()} bits" if isinstance(value, int) else value
        rule = "torch's files hold no such scalar"
        return refusal("save", rule, {"value": shown}, "Save as .safetensors.", TypeError)

    def _int(self, value: int) -> None:
        if -(2**31) <= value < 2**31:
            self._out += b"J" + struct.pack("<i", value)
            return
        raw = value.to_bytes(value.bit_length() // 8 + 1, "little", signed=True)
        if len(raw) > 255:  # torch's own reader knows no longer ones
            raise self._refused(value)
        self._out += b"\x8a" + bytes([len(raw)]) + raw

    def _global(self, module: str, name: str) -> None:
        self._out += f"c{module}\n{name}\n".encode()

    def _tensor(self, name: str) -> None:
        entry = self._content.entry(name)
        number = self._numbers[self._content.aliases.get(name, name)]
        typed = _TYPED.get(str(entry.dtype))
        shape = list(entry.shape)
        if entry.dtype.name.startswith("float4"):
            shape[-1] //= 2  # torch counts pairs
        self._global("torch._utils", "_rebuild_tensor_v2" if typed else "_rebuild_tensor_v3")
        self._out += b"(("
        self._scalar("storage")
        self._global("torch" if typed else "torch.storage", typed or "UntypedStorage")
        for text in (str(number), "cpu", entry.size if typed else entry.nbytes):
            self._scalar(text)
        self._out += b"tQ"
        for part in (0, tuple(shape), _strides(shape), False):
            self.value(part)
        self._global("collections", "OrderedDict")
        self._out += b")R"
        if not typed:
            self._global("torch", _UNTYPED[str(entry.dtype)])
        self._out += b"tR"


def _strides(shape: list[int]) -> tuple[int, ...]:
    strides = [1]
    for size in reversed(shape[1:]):
        strides.append(strides[-1] * max(size, 1))
    return tuple(reversed(strides)) if shape else ()
