"""Splitting the streams of a bank into those to learn from and those to validate on."""

from __future__ import annotations

from collections.abc import Sequence

from samstar_rl.errors import SamstarError

VALIDATION_SHARE = 0.2


def split_streams(
    streams: Sequence[range], share: float = VALIDATION_SHARE
) -> tuple[tuple[range, ...], tuple[range, ...]]:
    """Split streams into those to train on and those to validate on, the last ones.

    A single stream is cut in time.

    Parameters
    ----------
    streams : sequence of range
    share : float
        Of the streams, or of the single stream's frames, that validates; at least one does.

    Returns
    -------
    training, validation : tuple of range

    Raises
    ------
    SamstarError
        If there is only one frame.
    """
    if len(streams) > 1:
        count = max(1, round(share * len(streams)))
        return tuple(streams[:-count]), tuple(streams[-count:])
    (stream,) = streams
    count = max(1, round(share * len(stream)))
    if len(stream) < 2:
        raise SamstarError("one frame cannot be split into training and validation: give more")
    return (stream[:-count],), (stream[-count:],)
