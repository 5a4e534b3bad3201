"""How one channel ends, as one of its ends sees it: lnd's channel arbitrator."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from enum import Enum, auto

from devnet.simulated.chain import Chain, PublishError
from devnet.simulated.channels import Channel, PendingHtlc
from devnet.simulated.closing.commitments import (
    ANCHOR_SAT,
    Commitment,
    commitment_of,
    shown_sat,
)
from devnet.simulated.closing.contracts import (
    Anchor,
    CommitOutput,
    Contract,
    Desk,
    Resolution,
    anchor_sweep,
)
from devnet.simulated.closing.htlc_contracts import IncomingHtlc, OutgoingHtlc
from devnet.simulated.closing.sweeper import Sweeper
from devnet.simulated.errors import RpcError
from devnet.simulated.graph import Graph
from devnet.simulated.onchain.transactions import OutputKind, Transaction
from devnet.simulated.onchain.view import ChainView
from protos.lnrpc import lightning_pb2

CloseType = lightning_pb2.ChannelCloseSummary.ClosureType

# lnd's broadcast deltas: an HTLC of ours is given up when it expires, one that we can claim
# is claimed so long before.
INCOMING_BROADCAST_BLOCKS = 16

# How deep lnd wants a close to be before it believes in it.
_MIN_CLOSE_BLOCKS, _MAX_CLOSE_BLOCKS = 3, 6
_MAX_NORMAL_CHANNEL_SAT = 16_777_215


class Phase(Enum):
    """Which of lnd's lists has the channel."""

    OPEN = auto()
    WAITING_CLOSE = auto()
    FORCE_CLOSING = auto()
    CLOSED = auto()


@dataclass(frozen=True)
class Listener:
    """Who at the node hears of a channel's end."""

    inactive: Callable[[Closure], None]  # the node has taken its link down for good
    published: Callable[[Transaction], None]  # the node has sent its own commitment
    confirmed: Callable[[Closure], None]  # its close is in a block
    closed: Callable[[Closure], None]  # and deep enough
    resolved: Callable[[Closure], None]  # and every output of ours is where it belongs


class Closure:
    """One end of one channel, from the first reason to close it to its last output.

    `on_block` draws all conclusions from what the node's chain has by then, so that a node
    that was away comes to the same ones later, and a reorg takes them back as far as lnd does:
    until the close is as deep as it shall be, and no further.
    """

    def __init__(
        self,
        node: str,
        channel: Channel,
        *,
        chain: Chain,
        view: ChainView,
        graph: Graph,
        sweeper: Sweeper,
        listener: Listener,
    ) -> None:
        self.channel = channel
        self.phase = Phase.OPEN
        self.close_type = CloseType.LOCAL_FORCE_CLOSE
        self.is_initiator = False
        self.closing_txid = ""
        self.close_height: int | None = None
        self.settled_sat = 0
        self.timelocked_sat = 0
        self.resolutions: list[Resolution] = []
        self.contracts: list[Contract] = []
        self.commitments: dict[str, Commitment] = {}
        self._node = node
        self._chain = chain
        self._view = view
        self._graph = graph
        self._sweeper = sweeper
        self._listener = listener
        self._desk = Desk(node, view, sweeper, self.resolutions)
        self._told_confirmed = ""

    @property
    def required_confirmations(self) -> int:
        capacity_sat = self.channel.capacity_msat // 1_000
        scaled = _MAX_CLOSE_BLOCKS * capacity_sat // _MAX_NORMAL_CHANNEL_SAT
        return max(_MIN_CLOSE_BLOCKS, min(_MAX_CLOSE_BLOCKS, scaled))

    @property
    def blocks_til_confirmed(self) -> int:
        """Until the close is deep enough, as lnd counts them down."""
        if self.close_height is None:
            return self.required_confirmations
        target = self.close_height + self.required_confirmations - 1
        return max(0, target - self._view.height)

    def force(self) -> Transaction:
        """Publishes our commitment; RpcError when that has been done.

        lnd lets one do so even where both ends have signed a close that waits for its block.
        """
        is_cooperating = self.closing_txid and not self.commitments
        if self.phase is not Phase.OPEN and not is_cooperating:
            raise RpcError("channel is already in the process of being force closed")
        self._leave_open()
        self.phase = Phase.WAITING_CLOSE
        self.is_initiator = True
        self._freeze()
        mine = self.commitments[self._node]
        self.closing_txid = mine.transaction.txid
        # The dust of HTLCs is lost with the commitment, so nobody waits for it.
        for htlc in list(self.channel.pending.values()):
            if htlc.sender == self._node and htlc not in mine.htlcs:
                htlc.resolve_on_chain(None)
        self._publish(mine.transaction)
        self._listener.published(mine.transaction)
        self._offer_anchors()
        return mine.transaction

    def cooperate(self, transaction: Transaction, *, is_initiator: bool) -> None:
        """Both ends have signed, and this is what they publish."""
        self._leave_open()
        self.phase = Phase.WAITING_CLOSE
        self.is_initiator = is_initiator
        self.close_type = CloseType.COOPERATIVE_CLOSE
        self.closing_txid = transaction.txid
        self._graph.begin_close(self.channel)

    def on_block(self, height: int) -> None:
        """Looks at the chain, and does what is due."""
        if self.phase in (Phase.OPEN, Phase.WAITING_CLOSE):
            self._await_close(height)
        if self.phase is Phase.FORCE_CLOSING:
            self._follow_outputs()

    def on_decision(self, htlc: PendingHtlc) -> None:
        """Our own end knows what shall become of an HTLC that only the chain can decide."""
        if self.phase is Phase.FORCE_CLOSING and htlc.receiver == self._node:
            self._follow_outputs()

    def on_transaction(self, transaction: Transaction) -> None:
        """A transaction that is not in a block yet: from an HTLC's expiry on that is news too."""
        if self.phase is not Phase.FORCE_CLOSING:
            return
        spent = {spend.outpoint for spend in transaction.spends}
        for contract in self.contracts:
            if (
                isinstance(contract, OutgoingHtlc)
                and contract.watches_mempool
                and contract.outpoint in spent
            ):
                contract.look(transaction)

    def on_restart(self) -> None:
        """Lnd starts its resolvers again; of those that were done it reports no more.

        An anchor has none that lasts: it is looked for anew each time.
        """
        self.contracts = [
            each for each in self.contracts if not each.is_resolved or isinstance(each, Anchor)
        ]
        if self.phase is Phase.FORCE_CLOSING:
            for contract in self.contracts:
                contract.relaunch()
        elif self.phase is Phase.WAITING_CLOSE and self.close_height is None:
            self._offer_anchors()

    def _leave_open(self) -> None:
        ends = (self.channel.opener, self.channel.peer)
        if self.phase is Phase.OPEN and self._graph.connected(*ends):
            self._listener.inactive(self)

    def _await_close(self, height: int) -> None:
        spender = self._view.spender(self.channel.funding)
        if spender is None:
            self.close_height = None
            self._told_confirmed = ""
            self._press_on(height)
            return
        confirmed = self._view.height_of(spender.txid)
        assert confirmed is not None, "the view has it in a block"
        self.close_height = confirmed
        if self._told_confirmed != spender.txid:
            self._told_confirmed = spender.txid
            if _is_cooperative(spender):
                self._settle(spender)
            self._withdraw_anchors()
            self._listener.confirmed(self)
        if height - confirmed + 1 >= self.required_confirmations:
            self._believe(spender, confirmed)

    def _press_on(self, height: int) -> None:
        """No block has a close: our own must get there, or must be begun."""
        if self.phase is Phase.OPEN:
            if self._must_go_on_chain(height):
                self.force()
        elif self._node in self.commitments:
            self._publish(self.commitments[self._node].transaction)

    def _must_go_on_chain(self, height: int) -> bool:
        return any(
            height >= htlc.expiry_height
            if htlc.sender == self._node
            else htlc.preimage is not None
            and height >= htlc.expiry_height - INCOMING_BROADCAST_BLOCKS
            for htlc in self.channel.pending.values()
        )

    def _freeze(self) -> None:
        """Takes both ends' commitments as they are; nothing moves over the channel any more."""
        label = f"0:closechannel:shortchanid-{self.channel.channel_id}"
        for holder in (self.channel.opener, self.channel.peer):
            self.commitments[holder] = commitment_of(self.channel, holder, label=label)
        self._graph.begin_close(self.channel)

    def _publish(self, transaction: Transaction) -> None:
        """Sends it, or keeps it for the next block, as lnd does.

        The peer's may be there already, or nobody hears the node.
        """
        if self._view.has_backend:
            with suppress(PublishError):
                self._chain.publish(transaction)

    def _offer_anchors(self) -> None:
        """Makes each possible commitment able to be paid for by a child, if it is at stake."""
        at_stake_sat, deadline = self._at_stake()
        for commitment in self.commitments.values():
            anchor = commitment.anchors.get(self._node)
            if anchor is not None:
                self._sweeper.offer(
                    anchor_sweep(
                        self._desk,
                        anchor,
                        budget_sat=at_stake_sat // 2 + ANCHOR_SAT,
                        deadline_height=deadline,
                        parent=commitment.transaction,
                    )
                )

    def _withdraw_anchors(self) -> None:
        """A block has the close: nothing is left to pay for."""
        for commitment in self.commitments.values():
            anchor = commitment.anchors.get(self._node)
            if anchor is not None:
                self._sweeper.withdraw(anchor)

    def _at_stake(self) -> tuple[int, int | None]:
        """What is lost if the close comes too late, without what its sweeps may cost, and when.

        Half of the time is for the commitment and half for what follows it. A payment of our
        own is in no hurry.
        """
        height = self._view.height
        amounts_sat, deadlines = 0, []
        for htlc in self.channel.pending.values():
            if htlc.is_resolved:
                continue
            outgoing = htlc.sender == self._node
            urgent = htlc.upstream is not None if outgoing else htlc.preimage is not None
            if urgent:
                until = htlc.upstream.expiry_height if htlc.upstream and outgoing else 0
                deadlines.append(until or htlc.expiry_height)
                amounts_sat += htlc.amount_msat // 1_000
        if not deadlines:
            return 0, None
        blocks = max(1, (min(deadlines) - height) // 2)
        return amounts_sat - amounts_sat // 2, height + blocks

    def _believe(self, spender: Transaction, confirmed: int) -> None:
        """The close is deep enough: from here on lnd never looks back."""
        self._leave_open()
        self.closing_txid = spender.txid
        if _is_cooperative(spender):
            self.phase = Phase.CLOSED
            self._listener.closed(self)
            self._listener.resolved(self)
            return
        if not self.commitments:
            self._freeze()
        commitment = next(
            c for c in self.commitments.values() if c.transaction.txid == spender.txid
        )
        is_local = commitment.holder == self._node
        self.is_initiator = is_local
        self.close_type = CloseType.LOCAL_FORCE_CLOSE if is_local else CloseType.REMOTE_FORCE_CLOSE
        self.phase = Phase.FORCE_CLOSING
        self._take_outputs(commitment, confirmed, is_local=is_local)
        self._listener.closed(self)

    def _take_outputs(self, commitment: Commitment, height: int, *, is_local: bool) -> None:
        outputs = commitment.transaction.outputs
        mine = commitment.outputs.get(self._node)
        anchor = commitment.anchors.get(self._node)
        if anchor is not None:
            self.contracts.append(Anchor(self._desk, anchor, outputs[anchor.index]))
        if mine is not None:
            output = outputs[mine.index]
            self.settled_sat = output.amount_sat
            self.timelocked_sat = output.amount_sat if is_local else 0
            self.contracts.append(
                CommitOutput(self._desk, mine, output, height=height, is_local=is_local)
            )
        for htlc, outpoint in commitment.htlcs.items():
            kind = OutgoingHtlc if htlc.sender == self._node else IncomingHtlc
            if is_local and kind is OutgoingHtlc:
                self.timelocked_sat += outputs[outpoint.index].amount_sat
            self.contracts.append(
                kind(
                    self._desk,
                    htlc,
                    outpoint,
                    height=height,
                    is_local=is_local,
                )
            )
        for htlc in list(self.channel.pending.values()):
            if htlc.sender == self._node and htlc not in commitment.htlcs:
                htlc.resolve_on_chain(None)

    def _settle(self, spender: Transaction) -> None:
        """A close that both have signed has paid out what there was."""
        self.close_type = CloseType.COOPERATIVE_CLOSE
        self.closing_txid = spender.txid
        self.settled_sat = sum(o.amount_sat for o in spender.outputs if o.owner == self._node)

    def _follow_outputs(self) -> None:
        for contract in self.contracts:
            contract.advance()
        if all(each.is_resolved or isinstance(each, Anchor) for each in self.contracts):
            self.phase = Phase.CLOSED
            self._listener.resolved(self)

    @property
    def shown_sat(self) -> dict[str, int]:
        """Both balances, as the last commitment has them."""
        return {
            node: shown_sat(self.channel, node) for node in (self.channel.opener, self.channel.peer)
        }


def _is_cooperative(spender: Transaction) -> bool:
    paid_out = (OutputKind.WALLET, OutputKind.FOREIGN)
    return all(output.kind in paid_out for output in spender.outputs)
