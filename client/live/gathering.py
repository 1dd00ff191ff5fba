"""Small pieces of a call's audio, gathered into messages: a message costs far more than the bytes in it."""

from collections.abc import Iterator

from client.bridges.calls import Audio
from client.errors import InvalidRequest
from client.formats import AudioFormat, Encoding

# The service takes 10 s in one message, lost frames included.
LONGEST_LOSS_S = 5.0


def frame_bytes_of(audio_format: AudioFormat) -> int:
    """Bytes of one sample of every channel; raises InvalidRequest for a format that no live call can have."""
    if audio_format.encoding is Encoding.FILE:
        raise InvalidRequest("a live call's audio has no header: its format is mulaw, alaw or pcm16")
    if audio_format.sample_rate_hz <= 0:
        raise InvalidRequest(f"{audio_format.sample_rate_hz} Hz; a live call's sampling rate must be given")
    sample_bytes = 2 if audio_format.encoding is Encoding.PCM16 else 1
    return sample_bytes * max(1, audio_format.channels)


class Gathering:
    """Collects audio until there is a message of it: one to two times `piece_s` long."""

    def __init__(self, audio_format: AudioFormat, piece_s: float) -> None:
        self._frame_bytes = frame_bytes_of(audio_format)
        self._piece = max(1, round(piece_s * audio_format.sample_rate_hz))
        self._longest_loss = round(LONGEST_LOSS_S * audio_format.sample_rate_hz)
        self._data = bytearray()
        self._lost = self._concealed = 0

    @property
    def pending_frames(self) -> int:
        """What has not become a message yet, lost frames included."""
        return self._lost + len(self._data) // self._frame_bytes

    def frames_of(self, audio: Audio) -> int:
        """Length of a piece without what was lost before it; raises InvalidRequest for one that breaks the rules."""
        frames, rest = divmod(len(audio.data), self._frame_bytes)
        if rest:
            raise InvalidRequest(f"{len(audio.data)} bytes of audio; a frame has {self._frame_bytes}")
        if audio.lost_frames < 0 or not 0 <= audio.concealed_frames <= frames:
            raise InvalidRequest(
                f"{audio.lost_frames} lost and {audio.concealed_frames} concealed frames with {frames};"
                " lost ones cannot be negative, concealed ones are some of those sent"
            )
        return frames

    def add(self, audio: Audio) -> list[Audio]:
        """Takes a piece; returns the messages that are complete. Raises InvalidRequest."""
        self.frames_of(audio)
        complete = self.flush() if audio.lost_frames and self._data else []  # a loss comes before a message's audio
        self._lost += audio.lost_frames
        self._data += audio.data
        self._concealed += audio.concealed_frames
        if self.pending_frames >= self._piece:
            complete += self.flush()
        return complete

    def flush(self) -> list[Audio]:
        """Messages of all that is pending."""
        messages = list(self._messages())
        self._data.clear()
        self._lost = self._concealed = 0
        return messages

    def _messages(self) -> Iterator[Audio]:
        lost, concealed = self._lost, self._concealed
        while lost > self._longest_loss:
            yield Audio(b"", self._longest_loss)
            lost -= self._longest_loss
        step = 2 * self._piece * self._frame_bytes
        for start in range(0, len(self._data), step):
            data = bytes(self._data[start : start + step])
            made_up = min(concealed, len(data) // self._frame_bytes)
            yield Audio(data, lost, made_up)
            lost, concealed = 0, concealed - made_up
        if lost:
            yield Audio(b"", lost)
