"""The features of a live call: each new second of audio costs the frames of that second, and a window costs its edges.

What a window gives equals what `inputs.audio_feature` gives for the same samples. Against the whole recording,
resampled at once, the quietest bands differ by up to 2e-3 dB: samples are rounded otherwise in their seventh digit.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Final

import numpy as np

from preprocess_service.features import mel, mfcc, picture, waveform
from preprocess_service.features.audio import TELEPHONE_RATE_HZ, Samples
from preprocess_service.features.inputs import AudioFeature
from preprocess_service.features.live.resampling import Resampler
from preprocess_service.features.live.sliding import Sliding
from preprocess_service.features.mel import EDGE_FRAMES, FFT_SIZE, HOP, SAMPLE_RATE_HZ, Spectrogram
from preprocess_service.model_spec import MEL, MFCC, WAVEFORM, ModelSpec

CLIPPED_LEVEL: Final = 0.98  # of full scale
BLOCK_S: Final = 2.0  # fed at once: a long piece needs no larger buffers
_HALF: Final = FFT_SIZE // 2
_KEPT_SAMPLES: Final = mel.MULTIMODAL_SAMPLES + FFT_SIZE + HOP  # the longest window, the last frames and the grid
_SLACK_SAMPLES: Final = round((BLOCK_S + 0.1) * SAMPLE_RATE_HZ)
_FLOOR_DB: Final = float(mel.decibels(np.zeros((1, 1), np.float32))[0, 0])  # of a frame without any sound


@dataclass(frozen=True)
class Span:
    """Samples [start, end) at 22,050 Hz, from the beginning of what was heard."""

    start: int
    end: int


class LiveAudio:
    """What has been heard of one party: the newest samples and mel frames. Holds about 1.2 MiB, however long the call.

    Positions are samples at 22,050 Hz from where this stream began.
    """

    def __init__(self, rate_hz: int) -> None:
        """`rate_hz` is that of the samples that will be fed."""
        self._to_telephone = Resampler(rate_hz, TELEPHONE_RATE_HZ)
        self._to_mel = Resampler(TELEPHONE_RATE_HZ, SAMPLE_RATE_HZ)
        self._rate_hz, self._fed = rate_hz, 0
        self._samples = Sliding(1, _KEPT_SAMPLES, _SLACK_SAMPLES)
        self._levels = Sliding(
            2, _KEPT_SAMPLES // HOP, _SLACK_SAMPLES // HOP + 1
        )  # of every HOP: peak, clipped samples
        self._frames = Sliding(mel.BANDS, _KEPT_SAMPLES // HOP, _SLACK_SAMPLES // HOP + 1)
        self._lost: deque[Span] = deque()
        self._concealed: deque[Span] = deque()

    @property
    def available(self) -> int:
        """Samples that can be judged: all but what a filter still waits for, 20 to 40 ms at the usual rates."""
        return self._samples.end

    @property
    def memory_bytes(self) -> int:
        return self._samples.memory_bytes + self._frames.memory_bytes + self._levels.memory_bytes

    def feed(self, samples: Samples) -> None:
        """Hears samples (n,) at the party's rate; costs least where a whole hop comes at once."""
        self._fed += len(samples)
        block = round(BLOCK_S * self._rate_hz)
        for start in range(0, len(samples), block):
            self._hear(self._to_telephone.resample(samples[start : start + block]))

    def lose(self, after: int, count: int) -> None:
        """Of the samples to be fed next, `count` that come after the first `after` were lost and are silence."""
        self._add(self._lost, after, count)

    def conceal(self, after: int, count: int) -> None:
        """Of the samples to be fed next, `count` that come after the first `after` were made up."""
        self._add(self._concealed, after, count)

    def finish(self) -> None:
        """There is no more: what the filters have held back becomes available."""
        self._hear(self._to_telephone.resample(np.zeros(0, np.float32), last=True), last=True)

    def span(self, spec: ModelSpec) -> Span:
        """The newest window: whole if there is so much, and on the frames' grid then."""
        window = round(spec.window_s * SAMPLE_RATE_HZ)
        start = max(0, self.available - window) // HOP * HOP
        if self.available - window > start and spec.audio == WAVEFORM:
            start = self.available - window
        return Span(start, min(self.available, start + window))

    def feature(self, spec: ModelSpec, span: Span) -> AudioFeature:
        """The model's audio tensor, without the batch axis, of a span that `span` gave."""
        if spec.audio == WAVEFORM:
            return waveform.waveform(self._samples.view(span.start, span.end)[0])
        if spec.audio in (MEL, MFCC):
            whole = self._decibels(span, mel.frame_count(mel.MULTIMODAL_SAMPLES))
            log_mel = mel.against_loudest(whole)[:, : mel.MULTIMODAL_FRAMES]
            return mfcc.of_mel(log_mel) if spec.audio == MFCC else np.ascontiguousarray(log_mel)[..., np.newaxis]
        return picture.of_mel(mel.against_loudest(self._decibels(span, mel.frame_count(span.end - span.start))))

    def levels(self, span: Span) -> tuple[float, float]:
        """The greatest sample of a span, and the share of its samples at CLIPPED_LEVEL or above; to one HOP."""
        first, last = span.start // HOP, span.end // HOP
        peaks, clipped = self._levels.view(first, last)
        rest = np.abs(self._samples.view(last * HOP, span.end)[0])
        peak = max(float(peaks.max(initial=0)), float(rest.max(initial=0)))
        count = float(clipped.sum()) + np.count_nonzero(rest >= CLIPPED_LEVEL)
        return peak, count / max(1, span.end - span.start)

    def frames(self, span: Span) -> Spectrogram:
        """Absolute decibels (BANDS, frames) of the frames that lie wholly within a span, as a view."""
        first = max(self._frames.begin, -(-(span.start + _HALF) // HOP))
        return self._frames.view(first, max(first, min(self._frames.end, (span.end - _HALF) // HOP + 1)))

    def has_lost(self, span: Span) -> bool:
        """Whether audio of the span was lost."""
        return _touches(self._lost, span)

    def has_concealed(self, span: Span) -> bool:
        """Whether audio of the span was made up."""
        return _touches(self._concealed, span)

    def _hear(self, telephone: Samples, *, last: bool = False) -> None:
        heard = self._to_mel.resample(telephone, last=last)
        self._samples.append(heard[np.newaxis])
        self._add_levels()
        self._add_frames()
        while self._lost and self._lost[0].end < self._samples.begin:
            self._lost.popleft()
        while self._concealed and self._concealed[0].end < self._samples.begin:
            self._concealed.popleft()

    def _add_levels(self) -> None:
        first, last = self._levels.end, self.available // HOP
        if last > first:
            blocks = np.abs(self._samples.view(first * HOP, last * HOP)[0]).reshape(-1, HOP)
            clipped = np.count_nonzero(blocks >= CLIPPED_LEVEL, axis=1).astype(np.float32)
            self._levels.append(np.stack([blocks.max(axis=1), clipped]))

    def _add_frames(self) -> None:
        """Computes the frames that have become whole; the first ones of all begin before the audio, in silence."""
        first, stop = self._frames.end, (self.available - _HALF) // HOP + 1
        begin = range(first, min(stop, EDGE_FRAMES))
        if begin:
            self._frames.append(mel.decibels(mel.edge_power(self._samples.view(0, self.available)[0], begin)))
            first = begin.stop
        if first < stop:
            inside = self._samples.view(first * HOP - _HALF, (stop - 1) * HOP + _HALF)[0]
            self._frames.append(mel.decibels(mel.inner_power(inside)))

    def _decibels(self, span: Span, count: int) -> Spectrogram:
        """Absolute decibels (BANDS, count) of frames from the span's start on, silence before and after it."""
        first, length = span.start // HOP, span.end - span.start
        found = np.full((mel.BANDS, count), _FLOOR_DB, np.float32)
        whole, cut = mel.whole_frames(length, count), mel.cut_frames(length, count)
        found[:, whole.start : whole.stop] = self._frames.view(first + whole.start, first + whole.stop)
        if cut:
            found[:, cut] = mel.decibels(mel.edge_power(self._samples.view(span.start, span.end)[0], cut))
        return found

    def _add(self, spans: deque[Span], after: int, count: int) -> None:
        """Adds a stretch, counted in the party's own samples; one close behind the last becomes part of it, so that
        there are never many."""
        start = self._fed + after
        first, end = (round(each * SAMPLE_RATE_HZ / self._rate_hz) for each in (start, start + count))
        if spans and first - spans[-1].end < HOP:
            first = spans.pop().start
        spans.append(Span(first, end))


def _touches(spans: deque[Span], span: Span) -> bool:
    return any(each.start < span.end and each.end > span.start for each in spans)
