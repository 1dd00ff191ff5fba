"""Audio whose sampling rate changes in the middle of a call, at the call's one rate."""

import av
import numpy as np


class RateConversion:
    """Mono PCM16 at any rate to one; keeps what a filter needs between the pieces."""

    def __init__(self, rate_hz: int) -> None:
        """`rate_hz` is that of the result."""
        self._rate_hz = rate_hz
        self._from_hz = rate_hz
        self._resampler: av.AudioResampler | None = None

    def convert(self, data: bytes, rate_hz: int) -> bytes:
        """Whole samples at `rate_hz`; what the filter still holds comes with a later piece, or with the next rate."""
        rest = b"" if rate_hz == self._from_hz else self._change(rate_hz)
        if self._resampler is None:
            return rest + data
        if not data:
            return rest
        frame = av.AudioFrame.from_ndarray(np.frombuffer(data, dtype="<i2")[np.newaxis], format="s16", layout="mono")
        frame.sample_rate = rate_hz
        return rest + _bytes_of(self._resampler.resample(frame))

    def flush(self) -> bytes:
        """What the filter still holds, at the call's end."""
        return self._change(self._rate_hz)

    def _change(self, rate_hz: int) -> bytes:
        rest = b"" if self._resampler is None else _bytes_of(self._resampler.resample(None))
        self._from_hz = rate_hz
        is_needed = rate_hz != self._rate_hz
        self._resampler = av.AudioResampler(format="s16", layout="mono", rate=self._rate_hz) if is_needed else None
        return rest


def _bytes_of(frames: list[av.AudioFrame]) -> bytes:
    return b"".join(frame.to_ndarray().astype("<i2").tobytes() for frame in frames)
