"""What a bridge makes of a telephony protocol: calls, each a sequence of audio and transcripts that ends at hang-up."""

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Protocol

from client.formats import AudioFormat
from client.results import CallUpdate


@dataclass(frozen=True, slots=True)
class Audio:
    """Whole frames (one sample of every channel) in the call's format.

    `lost_frames` never arrived and come before `data`; `concealed_frames` of `data` were made up in place of some that
    were lost.
    """

    data: bytes
    lost_frames: int = 0
    concealed_frames: int = 0


@dataclass(frozen=True, slots=True)
class Transcript:
    """What a recogniser has understood; one that is not final replaces the speaker's last one that was not.

    `start_s` and `end_s` are seconds of the call's audio; both 0 stand for "up to now".
    """

    text: str
    is_final: bool = True
    start_s: float = 0.0
    end_s: float = 0.0
    from_agent: bool = False


class BridgedCall(Protocol):
    """One call as a bridge hears it. Of two channels the first is the caller, the second the agent."""

    @property
    def call_id(self) -> str:
        """The far side's name of the call: printable ASCII, at most 128 characters."""

    @property
    def format(self) -> AudioFormat:
        """Of all the call's audio."""

    def events(self) -> AsyncIterator[Audio | Transcript]:
        """Ends at hang-up; raises ConnectionError where the far side broke the protocol, with what and which rule."""

    @property
    def counts(self) -> Mapping[str, int]:
        """What went wrong so far, by name: packets lost, late, dropped and so on."""

    async def tell(self, update: CallUpdate) -> None:
        """Tells the far side what the service has found; does nothing where the protocol has no way to."""


class Bridge(Protocol):
    """A listening socket and the calls that come in on it."""

    @property
    def address(self) -> str:
        """Where it listens, as HOST:PORT."""

    def calls(self) -> AsyncIterator[BridgedCall]:
        """Every call as it begins; ends only when the bridge is closed."""

    async def close(self) -> None:
        """Takes no more calls and ends those under way."""
