"""Many masks of one frame, each bit-packed in its box, and the pixels that they share.

A mask's *window* is the boolean array inside its box. Boxes here are half-open, ``x0, y0, x1, y1``
with the right and bottom edges outside, so that ``image[y0:y1, x0:x1]`` is the window.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

Window = NDArray[np.bool_]
Ids = NDArray[np.intp]

RAW, DEFLATED = b"\x00", b"\x01"
# below this many bytes deflate gains nothing worth its time
MIN_DEFLATED_BYTES = 64
# opened masks kept at hand for each frame; one of 512 x 512 takes 32 kB
CACHE_BYTES = 4 << 20
# masks for which pairwise overlaps are remembered; their table takes 4 MB then
MAX_PAIRED_MASKS = 1024


def pack_window(window: Window) -> bytes:
    """Encode a boolean (h, w) array: bits by rows, each row against the one above, deflated."""
    bits = np.packbits(window, axis=1)
    bits[1:] ^= bits[:-1].copy()
    plain = bits.tobytes()
    if len(plain) < MIN_DEFLATED_BYTES:
        return RAW + plain
    deflated = zlib.compress(plain, 1)
    return DEFLATED + deflated if len(deflated) < len(plain) else RAW + plain


def unpack_bits(packed: bytes | memoryview, height: int, width: int) -> NDArray[np.uint8]:
    """Undo `pack_window` up to the packed bits, (h, ceil(w / 8)) uint8."""
    body: bytes | memoryview = memoryview(packed)[1:]
    if packed[:1] == DEFLATED:
        body = zlib.decompress(body)
    bits = np.frombuffer(body, dtype=np.uint8).reshape(height, -(-width // 8))
    return np.bitwise_xor.accumulate(bits, axis=0)


class MaskStore:
    """A growing collection of masks of one frame.

    Parameters
    ----------
    shape : tuple of int
        Height and width of the frame in px.
    boxes : (M, 4) int array
        x0, y0, x1, y1 of each mask, half-open and tight; all 0 for an empty mask.
    areas : (M,) int array
        Pixels of each mask.
    packed : sequence of bytes-like
        The windows as `pack_window` encodes them; opened when first needed.
    """

    def __init__(
        self,
        shape: tuple[int, int],
        boxes: NDArray[np.integer],
        areas: NDArray[np.integer],
        packed: Sequence[bytes | memoryview],
    ) -> None:
        self.shape = (int(shape[0]), int(shape[1]))
        self.boxes = np.ascontiguousarray(boxes, dtype=np.int32).reshape(-1, 4)
        self.areas = np.ascontiguousarray(areas, dtype=np.int64)
        self._packed = packed
        self._n_packed = len(packed)
        self._added: list[bytes] = []
        self._opened: dict[int, NDArray[np.uint8]] = {}
        self._opened_bytes = 0
        self._pairs = _PairTable()

    @classmethod
    def from_windows(
        cls, shape: tuple[int, int], items: Iterable[tuple[tuple[int, int], Window]]
    ) -> MaskStore:
        """Collect masks given as ((x, y) of the window's corner, window); boxes are made tight."""
        store = cls(shape, np.zeros((0, 4)), np.zeros(0), [])
        store.add(items)
        return store

    def __len__(self) -> int:
        return len(self.areas)

    def add(self, items: Iterable[tuple[tuple[int, int], Window]]) -> Ids:
        """Append masks given as ((x, y) of the window's corner, window); return their ids."""
        boxes, areas = [], []
        for (x, y), window in items:
            x0, y0, x1, y1 = tight_box(window)
            boxes.append((x + x0, y + y0, x + x1, y + y1) if x1 else (0, 0, 0, 0))
            inside = window[y0:y1, x0:x1]
            areas.append(int(np.count_nonzero(inside)))
            self._added.append(pack_window(inside))
        first = len(self)
        if boxes:
            self.boxes = np.concatenate([self.boxes, np.array(boxes, dtype=np.int32)])
            self.areas = np.concatenate([self.areas, np.array(areas, dtype=np.int64)])
        return np.arange(first, len(self))

    def packed(self, mask_id: int) -> bytes | memoryview:
        """The encoded window of a mask."""
        if mask_id < self._n_packed:
            return self._packed[mask_id]
        return self._added[mask_id - self._n_packed]

    def window(self, mask_id: int) -> Window:
        """The pixels of a mask in its box, boolean (h, w)."""
        x0, y0, x1, y1 = self.boxes[mask_id].tolist()
        bits = self._opened.get(mask_id)
        if bits is None:
            bits = self._open(mask_id, y1 - y0, x1 - x0)
        return np.unpackbits(bits, axis=1, count=x1 - x0).view(np.bool_)

    def _open(self, mask_id: int, height: int, width: int) -> NDArray[np.uint8]:
        bits = unpack_bits(self.packed(mask_id), height, width)
        if self._opened_bytes + bits.nbytes > CACHE_BYTES:
            self._opened.clear()
            self._opened_bytes = 0
        self._opened[mask_id] = bits
        self._opened_bytes += bits.nbytes
        return bits

    def mask(self, mask_id: int) -> NDArray[np.bool_]:
        """A mask in the whole frame, boolean (H, W)."""
        full = np.zeros(self.shape, dtype=bool)
        x0, y0, x1, y1 = self.boxes[mask_id].tolist()
        full[y0:y1, x0:x1] = self.window(mask_id)
        return full

    def intersection(self, first: int, second: int) -> int:
        """Pixels that two masks share."""
        ax0, ay0, ax1, ay1 = self.boxes[first].tolist()
        bx0, by0, bx1, by1 = self.boxes[second].tolist()
        x0, y0, x1, y1 = max(ax0, bx0), max(ay0, by0), min(ax1, bx1), min(ay1, by1)
        if x0 >= x1 or y0 >= y1:
            return 0
        a = self.window(first)[y0 - ay0 : y1 - ay0, x0 - ax0 : x1 - ax0]
        b = self.window(second)[y0 - by0 : y1 - by0, x0 - bx0 : x1 - bx0]
        return int(np.count_nonzero(a & b))

    def intersections(self, ids: Ids) -> NDArray[np.int64]:
        """Pixels that each two of K masks share, (K, K); the diagonal holds the areas.

        A pair is counted once and remembered.
        """
        return self._pairs.lookup(self, ids)


class _PairTable:
    """Remembered intersections of those masks that were ever asked for together."""

    def __init__(self) -> None:
        self._slots: dict[int, int] = {}
        self._counts = np.full((0, 0), -1, dtype=np.int32)

    def lookup(self, store: MaskStore, ids: Ids) -> NDArray[np.int64]:
        slots = self._slots_of(ids.tolist())
        counts = self._counts[slots[:, None], slots]
        rows, columns = np.nonzero(counts < 0)
        upper = rows <= columns
        if upper.any():
            self._count(store, ids, slots, rows[upper], columns[upper])
            counts = self._counts[slots[:, None], slots]
        return counts.astype(np.int64)

    def _slots_of(self, ids: list[int]) -> Ids:
        unknown = [mask_id for mask_id in ids if mask_id not in self._slots]
        if len(self._slots) + len(unknown) > MAX_PAIRED_MASKS:
            self._slots, unknown = {}, ids
            self._counts = np.full((0, 0), -1, dtype=np.int32)
        for mask_id in unknown:
            self._slots[mask_id] = len(self._slots)
        self._grow(len(self._slots))
        return np.array([self._slots[mask_id] for mask_id in ids], dtype=np.intp)

    def _grow(self, size: int) -> None:
        old = len(self._counts)
        if size > old:
            counts = np.full((max(size, 2 * old),) * 2, -1, dtype=np.int32)
            counts[:old, :old] = self._counts
            self._counts = counts

    def _count(
        self, store: MaskStore, ids: Ids, slots: Ids, rows: Ids, columns: Ids
    ) -> None:
        a, b = store.boxes[ids[rows]], store.boxes[ids[columns]]
        meet = (np.maximum(a[:, :2], b[:, :2]) < np.minimum(a[:, 2:], b[:, 2:])).all(axis=1)
        shared = np.zeros(len(rows), dtype=np.int32)
        for pair in np.flatnonzero(meet).tolist():
            first, second = int(ids[rows[pair]]), int(ids[columns[pair]])
            same = first == second
            shared[pair] = store.areas[first] if same else store.intersection(first, second)
        self._counts[slots[rows], slots[columns]] = shared
        self._counts[slots[columns], slots[rows]] = shared


def tight_box(window: Window) -> tuple[int, int, int, int]:
    """x0, y0, x1, y1 of the pixels that are set, half-open; all 0 where none is."""
    rows = np.flatnonzero(window.any(axis=1))
    if len(rows) == 0:
        return 0, 0, 0, 0
    y0, y1 = int(rows[0]), int(rows[-1]) + 1
    columns = np.flatnonzero(window[y0:y1].any(axis=0))
    return int(columns[0]), y0, int(columns[-1]) + 1, y1
