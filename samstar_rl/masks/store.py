"""Many masks of one frame, each bit-packed in its box, and the pixels that they share.

A mask's *window* is the boolean array inside its box. Boxes here are half-open, ``x0, y0, x1, y1``
with the right and bottom edges outside, so that ``image[y0:y1, x0:x1]`` is the window.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterable, Sequence
from weakref import WeakSet

import numpy as np
from numpy.typing import NDArray

from samstar_rl.masks.box_nms import meeting
from samstar_rl.masks.pixel_runs import Runs, window_runs

Window = NDArray[np.bool_]
Held = bytes | memoryview | Callable[[], Window]
"""A window as a store has it: packed, or what draws it."""
Ids = NDArray[np.intp]

RAW, DEFLATED = b"\x00", b"\x01"
# below this many bytes deflate gains nothing worth its time
MIN_DEFLATED_BYTES = 64
# opened masks kept at hand for each frame; one of 512 x 512 takes 32 kB
CACHE_BYTES = 4 << 20
# remembered overlaps of all frames of the process together
PAIR_BYTES = 512 << 20
# more pairs than this are counted in bulk
MAX_SINGLE_PAIRS = 500
# bits of a mask's partners looked at together in bulk
BULK_BYTES = 16 << 20
# bits of all masks together, above which pairs are counted singly
BULK_BITS = 1 << 30


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
    """Undo `pack_window` up to the packed bits.

    Parameters
    ----------
    packed : bytes-like
    height, width : int
        Of the window, in px.

    Returns
    -------
    (h, ceil(w / 8)) uint8 array
        Eight pixels a byte, the first in the highest bit.
    """
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
    held : sequence of bytes-like or callable
        The windows as `pack_window` encodes them, or functions that draw them; opened when first
        needed.
    """

    def __init__(
        self,
        shape: tuple[int, int],
        boxes: NDArray[np.integer],
        areas: NDArray[np.integer],
        held: Sequence[Held],
    ) -> None:
        self.shape = (int(shape[0]), int(shape[1]))
        self.boxes = np.ascontiguousarray(boxes, dtype=np.int32).reshape(-1, 4)
        self.areas = np.ascontiguousarray(areas, dtype=np.int64)
        self._held = held
        self._n_held = len(held)
        self._added: list[bytes] = []
        self._opened: dict[int, NDArray[np.uint8]] = {}
        self._opened_bytes = 0
        self._runs: dict[int, Runs] = {}
        self._runs_bytes = 0
        self._pairs = _PairTable()

    @classmethod
    def from_windows(
        cls, shape: tuple[int, int], items: Iterable[tuple[tuple[int, int], Window]]
    ) -> MaskStore:
        """Collect masks given as ((x, y) of the window's corner, window); boxes are made tight."""
        store = cls(shape, np.zeros((0, 4), dtype=np.int32), np.zeros(0, dtype=np.int64), [])
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

    def held(self, mask_id: int) -> Held:
        """The window of a mask as it is held: packed, or what draws it."""
        if mask_id < self._n_held:
            return self._held[mask_id]
        return self._added[mask_id - self._n_held]

    def packed(self, mask_id: int) -> bytes | memoryview:
        """The encoded window of a mask."""
        held = self.held(mask_id)
        return pack_window(held()) if callable(held) else held

    def window(self, mask_id: int) -> Window:
        """The pixels of a mask in its box, boolean (h, w)."""
        x0, y0, x1, y1 = self.boxes[mask_id].tolist()
        bits = self._opened.get(mask_id)
        if bits is None:
            bits = self._open(mask_id, y1 - y0, x1 - x0)
        return np.unpackbits(bits, axis=1, count=x1 - x0).view(np.bool_)

    def _open(self, mask_id: int, height: int, width: int) -> NDArray[np.uint8]:
        held = self.held(mask_id)
        bits = np.packbits(held(), axis=1) if callable(held) else unpack_bits(held, height, width)
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

    def runs(self, ids: Ids) -> Runs:
        """Runs of K masks, one mask after the other; see `samstar_rl.masks.pixel_runs`."""
        known = self._runs
        parts = [known[i] if i in known else self._run(i) for i in ids.tolist()]
        return np.concatenate(parts) if parts else np.zeros(0, dtype=np.int64)

    def _run(self, mask_id: int) -> Runs:
        x0, y0, *_ = self.boxes[mask_id].tolist()
        runs = window_runs(self.window(mask_id), x0, y0, self.shape[1])
        if self._runs_bytes + runs.nbytes > CACHE_BYTES:
            self._runs = {}
            self._runs_bytes = 0
        self._runs[mask_id] = runs
        self._runs_bytes += runs.nbytes
        return runs

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

    def intersections(self, ids: Ids) -> NDArray[np.int32]:
        """Pixels that each two of K masks share, (K, K), counted once and remembered.

        The diagonal holds the areas.
        """
        return self._pairs.shared(self, ids[:, None], ids)

    def meeting(self, ids: Ids) -> tuple[Ids, Ids]:
        """Positions of each two of K masks whose boxes meet, as `box_nms.meeting` gives them."""
        return meeting(self.boxes.take(ids, axis=0))

    def shared(self, first: Ids, second: Ids) -> NDArray[np.int32]:
        """Pixels that masks share pair by pair, (P,). A pair is counted once and remembered."""
        return self._pairs.shared(self, first, second)

    def known_shared(self, first: Ids, second: Ids) -> NDArray[np.int32]:
        """Return what `shared` returns, with -1 for pairs that were never counted."""
        return self._pairs.known(self, first, second)


class _PairTable:
    """Remembered intersections: a row for each mask that was asked for, a column for every mask."""

    def __init__(self) -> None:
        self.forget()

    def forget(self) -> None:
        """Begin empty, and give the memory back."""
        self._slots = np.zeros(0, dtype=np.intp)
        self._rows = np.zeros((0, 0), dtype=np.int32)
        self._n_rows = 0

    @property
    def n_bytes(self) -> int:
        return self._rows.nbytes

    def known(self, store: MaskStore, first: Ids, second: Ids) -> NDArray[np.int32]:
        """Return what `shared` returns, with -1 where nothing is remembered."""
        if len(store) > len(self._slots):
            self._widen(len(store))
        slots = self._slots[first]
        if self._n_rows == 0:
            return np.full(len(first), -1, dtype=np.int32)
        return np.where(slots < 0, -1, self._rows[slots, second]).astype(np.int32)

    def shared(self, store: MaskStore, first: Ids, second: Ids) -> NDArray[np.int32]:
        """Return the pixels that pairs of masks share; first and second are broadcast."""
        slots = self._slots_of(first, len(store))
        shared = self._rows[slots, second]
        unknown = shared < 0
        if unknown.any():
            a, b = (np.broadcast_to(ids, shared.shape)[unknown] for ids in (first, second))
            counted = _count_shared(store, a, b)
            self._rows[self._slots[a], b] = counted
            shared[unknown] = counted
            # what was counted for a pair holds for it the other way round
            back = self._slots[b]
            self._rows[back[back >= 0], a[back >= 0]] = counted[back >= 0]
        return shared

    def _slots_of(self, ids: Ids, n_masks: int) -> Ids:
        if n_masks > len(self._slots):
            self._widen(n_masks)
        new = ids[self._slots[ids] < 0]
        if len(new):
            new = np.unique(new)
            self._slots[new] = self._n_rows + np.arange(len(new))
            self._n_rows += len(new)
            if self._n_rows > len(self._rows):
                more = max(self._n_rows, len(self._rows) * 3 // 2) - len(self._rows)
                self._rows = np.pad(self._rows, ((0, more), (0, 0)), constant_values=-1)
            _TABLES.add(self)
            if sum(table.n_bytes for table in _TABLES) > PAIR_BYTES:
                for table in list(_TABLES):
                    if table is not self:
                        table.forget()
        return self._slots[ids]

    def _widen(self, n_masks: int) -> None:
        # cleaned masks come in one by one: leave room
        more = n_masks + n_masks // 8 - len(self._slots)
        self._slots = np.pad(self._slots, (0, more), constant_values=-1)
        self._rows = np.pad(self._rows, ((0, 0), (0, more)), constant_values=-1)


#: All of the process, whose memory is bounded together: the older are emptied.
_TABLES: WeakSet[_PairTable] = WeakSet()


def _count_shared(store: MaskStore, first: Ids, second: Ids) -> NDArray[np.int32]:
    """Pixels that masks share pair by pair, (P,)."""
    a, b = store.boxes[first], store.boxes[second]
    meet = (np.maximum(a[:, :2], b[:, :2]) < np.minimum(a[:, 2:], b[:, 2:])).all(axis=1)
    meeting = np.flatnonzero(meet)
    shared = np.zeros(len(first), dtype=np.int32)
    n_masks = len(np.unique(np.concatenate([first[meeting], second[meeting]])))
    # in bulk masks are opened in the whole frame
    if len(meeting) > MAX_SINGLE_PAIRS and n_masks * store.shape[0] * store.shape[1] <= BULK_BITS:
        shared[meeting] = _count_in_bulk(store, first[meeting], second[meeting])
        return shared
    for pair in meeting.tolist():
        one, other = int(first[pair]), int(second[pair])
        shared[pair] = store.areas[one] if one == other else store.intersection(one, other)
    return shared


def _count_in_bulk(store: MaskStore, first: Ids, second: Ids) -> NDArray[np.int32]:
    """Count what pairs share, all partners of a mask at once, on bits aligned to the frame."""
    ids = np.unique(np.concatenate([first, second]))
    bits = _aligned_bits(store, ids)
    firsts, partners = np.searchsorted(ids, first), np.searchsorted(ids, second)
    shared = np.zeros(len(first), dtype=np.int32)
    order = np.argsort(firsts, kind="stable")
    ends = np.flatnonzero(np.diff(firsts[order], append=-1)) + 1
    start = 0
    for end in ends.tolist():
        pairs = order[start:end]
        one = int(firsts[pairs[0]])
        x0, y0, x1, y1 = store.boxes[ids[one]].tolist()
        words = slice(x0 // 64, -(-x1 // 64))
        mine = bits[one, y0:y1, words]
        for chunk in np.array_split(pairs, 1 + len(pairs) * mine.nbytes // BULK_BYTES):
            both = bits[partners[chunk], y0:y1, words] & mine
            shared[chunk] = np.bitwise_count(both).sum(axis=(1, 2), dtype=np.int32)
        start = end
    return shared


def _aligned_bits(store: MaskStore, ids: Ids) -> NDArray[np.uint64]:
    """Masks in the whole frame, 64 pixels of a row a word, (N, H, ceil(W / 64))."""
    height, width = store.shape
    n_words = -(-width // 64)
    bits = np.zeros((len(ids), height, n_words), dtype=np.uint64)
    for position, mask_id in enumerate(ids.tolist()):
        x0, y0, x1, y1 = store.boxes[mask_id].tolist()
        left, right = x0 // 64, -(-x1 // 64)
        rows = np.zeros((y1 - y0, 64 * (right - left)), dtype=bool)
        rows[:, x0 - 64 * left : x1 - 64 * left] = store.window(mask_id)
        bits[position, y0:y1, left:right] = np.packbits(rows, axis=1).view(np.uint64)
    return bits


def tight_box(window: Window) -> tuple[int, int, int, int]:
    """x0, y0, x1, y1 of the pixels that are set, half-open; all 0 where none is."""
    rows = np.flatnonzero(window.any(axis=1))
    if len(rows) == 0:
        return 0, 0, 0, 0
    y0, y1 = int(rows[0]), int(rows[-1]) + 1
    columns = np.flatnonzero(window[y0:y1].any(axis=0))
    return int(columns[0]), y0, int(columns[-1]) + 1, y1
