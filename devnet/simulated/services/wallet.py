"""The part of lnrpc.Lightning that is about the node's own coins."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from typing import TYPE_CHECKING

import bech32

from devnet.simulated.onchain.transactions import OutputKind
from devnet.simulated.onchain.view import ChainView
from devnet.simulated.onchain.wallets import WalletTransaction
from protos.lnrpc import lightning_pb2

if TYPE_CHECKING:
    from devnet.simulated.node import SimulatedNode

# What lnd keeps back for the anchors of each channel, and of all of them.
_RESERVED_SAT = 10_000
_MAX_RESERVED_SAT = 100_000


class WalletService:
    _node: SimulatedNode

    async def wallet_balance(
        self, _: lightning_pb2.WalletBalanceRequest
    ) -> lightning_pb2.WalletBalanceResponse:
        balance = self._node.wallets.balance(self._node.name)
        channels = sum(not each.private for each in self._node.closures.open_channels())
        return lightning_pb2.WalletBalanceResponse(
            total_balance=balance.confirmed_sat + balance.unconfirmed_sat,
            confirmed_balance=balance.confirmed_sat,
            unconfirmed_balance=balance.unconfirmed_sat,
            reserved_balance_anchor_chan=min(_MAX_RESERVED_SAT, channels * _RESERVED_SAT),
        )

    async def new_address(
        self, _: lightning_pb2.NewAddressRequest
    ) -> lightning_pb2.NewAddressResponse:
        """An address that nobody has the key of; only a close can be paid out to it."""
        address = bech32.encode("bcrt", 0, secrets.token_bytes(20))
        assert address is not None, "20 bytes are a witness program"
        self._node.addresses.add(address)
        return lightning_pb2.NewAddressResponse(address=address)

    async def get_transactions(
        self, request: lightning_pb2.GetTransactionsRequest
    ) -> lightning_pb2.TransactionDetails:
        """Newest first: what waits for a block, then the blocks downwards."""
        view = self._node.view
        found = [
            each
            for each in self._node.wallets.transactions(self._node.name)
            if _is_asked_for(_height(each, view), request)
        ]
        found.reverse()
        found.sort(key=lambda each: -(_height(each, view) or 1 << 31))
        size = request.max_transactions or len(found)
        page = found[request.index_offset : request.index_offset + size]
        details = details_message(page, view)
        details.first_index = request.index_offset
        details.last_index = request.index_offset + max(0, len(page) - 1)
        return details


def details_message(
    transactions: Sequence[WalletTransaction], view: ChainView
) -> lightning_pb2.TransactionDetails:
    return lightning_pb2.TransactionDetails(
        transactions=[_transaction(each, view) for each in transactions]
    )


def _height(known: WalletTransaction, view: ChainView) -> int | None:
    """Of its block, if the node has that one."""
    return known.height if known.height is not None and known.height <= view.height else None


def _is_asked_for(height: int | None, request: lightning_pb2.GetTransactionsRequest) -> bool:
    if height is None:
        return request.end_height in (0, -1)
    return request.start_height <= height and (
        request.end_height in (0, -1) or height <= request.end_height
    )


def _transaction(known: WalletTransaction, view: ChainView) -> lightning_pb2.Transaction:
    transaction = known.transaction
    height = _height(known, view)
    block = view.block_at(height) if height is not None else None
    return lightning_pb2.Transaction(
        tx_hash=transaction.txid,
        amount=known.amount_sat,
        num_confirmations=view.height - height + 1 if height is not None else 0,
        block_hash=block.block_hash if block is not None else "",
        block_height=height or 0,
        # lnd knows the fee only of what is paid for by its wallet alone.
        total_fees=transaction.fee_sat if known.is_all_ours else 0,
        label=transaction.label,
        output_details=[
            lightning_pb2.OutputDetail(
                output_type=lightning_pb2.SCRIPT_TYPE_WITNESS_V1_TAPROOT
                if output.kind is OutputKind.WALLET
                else lightning_pb2.SCRIPT_TYPE_WITNESS_V0_SCRIPT_HASH,
                output_index=index,
                amount=output.amount_sat,
                is_our_address=output.kind is OutputKind.WALLET and output.owner == known.owner,
            )
            for index, output in enumerate(transaction.outputs)
        ],
        previous_outpoints=[
            lightning_pb2.PreviousOutPoint(outpoint=str(spend.outpoint))
            for spend in transaction.spends
        ],
    )
