"""Where the chain is, as one node sees it, and who wants to know."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum

from pydantic import Field

from fulgurite.calls import Call
from fulgurite.identity import NodeName, Txid
from fulgurite.model import Line, Model


class Tip(Model):
    """The newest block that a node has. A lower height than before is a reorg."""

    height: int = Field(ge=0)
    block_hash: Txid
    synced: bool = Field(
        default=True,
        description="false: the node answers, and is not in step with the chain: the height that "
        "it tells is no reason for anything",
    )

    def takes_back(self, known: Tip) -> bool:
        """Whether the chain that this is the tip of has left out the block of `known`."""
        return self.height < known.height or (
            self.height == known.height and self.block_hash != known.block_hash
        )


class Alarm(Model):
    """Who is to be woken, and from which height on.

    The workflow is sent the signal `block` with the `Tip`. A block can be taken back, so whoever
    wakes looks for itself.
    """

    workflow_id: Line
    height: int = Field(ge=0)
    every_blocks: int | None = Field(
        default=None,
        ge=1,
        description="woken again so many blocks after each time, without asking; null: once, and "
        "to be asked for again",
    )

    def again(self, tip: Tip) -> Alarm | None:
        """What is left of it once it has rung at `tip`."""
        if self.every_blocks is None:
            return None
        return self.model_copy(update={"height": tip.height + self.every_blocks})


class FollowChain(Model):
    """Wait for a tip that is not `known`; at the latest at `until` the present one is told."""

    node: NodeName
    known: Tip | None = None
    trusted: Tip | None = Field(
        default=None, description="the last synced one: where it was taken back, that is told first"
    )
    until: datetime


class ChainState(StrEnum):
    """How a node's chain time is."""

    CONNECTING = "CONNECTING"  # the node has told no block yet
    FOLLOWING = "FOLLOWING"  # its newest block is known, and who waits for it is woken
    NOT_SYNCED = "NOT_SYNCED"  # it answers, and says that it lags behind: nobody is woken


class ChainView(Model):
    """A node's chain time, for those who watch."""

    node: NodeName
    tip: Tip | None = None
    trusted: Tip | None = Field(
        default=None, description="the last tip that the node told while it was in step"
    )
    alarms: tuple[Alarm, ...] = ()
    reorgs: int = Field(default=0, description="times that the tip was taken back")

    @property
    def state(self) -> ChainState:
        if self.tip is None:
            return ChainState.CONNECTING
        return ChainState.FOLLOWING if self.tip.synced else ChainState.NOT_SYNCED

    def details(self) -> str:
        """Markdown for the Temporal UI."""
        lines = [f"### {self.state}", f"blocks of **{self.node}**", ""]
        if self.tip:
            lines.append(f"- height {self.tip.height}, `{self.tip.block_hash}`")
        if self.tip and not self.tip.synced:
            trusted = f"the last that counts: {self.trusted.height}" if self.trusted else "none yet"
            lines.append(f"- **not in step with the chain**, nobody is woken; {trusted}")
        lines.append(f"- {len(self.alarms)} waiting{self._next()}")
        lines.append(f"- {self.reorgs} times a tip was taken back")
        return "\n".join(lines)

    def _next(self) -> str:
        if not self.alarms:
            return ""
        return f", the next for height {min(alarm.height for alarm in self.alarms)}"


FOLLOW_CHAIN = Call("chain.follow", FollowChain, Tip)
