"""walletrpc.WalletKit: outputs on their way into the wallet, and what hurries them."""

from __future__ import annotations

from dataclasses import dataclass

from devnet.simulated.closing.closure import Phase
from devnet.simulated.closing.closures import Closures
from devnet.simulated.closing.messages import outpoint_message
from devnet.simulated.closing.sweep import Sweep, WitnessType
from devnet.simulated.errors import RpcError
from devnet.simulated.onchain.fees import Fees
from devnet.simulated.onchain.transactions import Outpoint, OutputKind
from devnet.simulated.onchain.view import ChainView
from devnet.simulated.onchain.wallets import Wallets
from devnet.simulated.onchain.weights import SAT_PER_KW, WALLET_WITNESS
from devnet.simulated.services.channels import point_of
from devnet.simulated.services.wallet import details_message
from protos.lnrpc import lightning_pb2
from protos.walletrpc import walletkit_pb2

UNCONFIRMED_ONLY = -1


@dataclass(frozen=True)
class Bump:
    """What a request changes; None and 0 leave as it is."""

    start_sat_per_kw: int | None
    is_immediate: bool
    budget_sat: int
    deadline_height: int | None


class WalletKitService:
    def __init__(
        self, node: str, *, closures: Closures, view: ChainView, wallets: Wallets, fees: Fees
    ) -> None:
        self._node = node
        self._closures = closures
        self._sweeper = closures.sweeper
        self._view = view
        self._wallets = wallets
        self._fees = fees

    async def pending_sweeps(
        self, _: walletkit_pb2.PendingSweepsRequest
    ) -> walletkit_pb2.PendingSweepsResponse:
        return walletkit_pb2.PendingSweepsResponse(
            pending_sweeps=[_pending(sweep) for sweep in self._sweeper.pending]
        )

    async def list_sweeps(
        self, request: walletkit_pb2.ListSweepsRequest
    ) -> walletkit_pb2.ListSweepsResponse:
        """Sweeps that the wallet has not let go."""
        published = set(self._sweeper.published)
        sweeps = [
            each
            for each in self._wallets.transactions(self._node)
            if each.transaction.txid in published
            and (each.height is None or 0 <= request.start_height <= each.height)
        ]
        if request.verbose:
            return walletkit_pb2.ListSweepsResponse(
                transaction_details=details_message(sweeps, self._view)
            )
        return walletkit_pb2.ListSweepsResponse(
            transaction_ids=walletkit_pb2.ListSweepsResponse.TransactionIDs(
                transaction_ids=[each.transaction.txid for each in sweeps]
            )
        )

    async def bump_fee(
        self, request: walletkit_pb2.BumpFeeRequest
    ) -> walletkit_pb2.BumpFeeResponse:
        outpoint = _outpoint(request.outpoint)
        bump = self._read(request)
        sweep = self._sweeper.find(outpoint)
        if sweep is not None:
            self._change(sweep, bump)
            return walletkit_pb2.BumpFeeResponse(
                status="Successfully registered rbf-tx with sweeper"
            )
        self._sweep_coin(outpoint, bump)
        return walletkit_pb2.BumpFeeResponse(
            status="Successfully registered CPFP-tx with the sweeper"
        )

    async def bump_force_close_fee(
        self, request: walletkit_pb2.BumpForceCloseFeeRequest
    ) -> walletkit_pb2.BumpForceCloseFeeResponse:
        if not request.HasField("chan_point"):
            raise RpcError("no chan_point provided")
        closure = self._closures.find(point_of(request.chan_point))
        if closure.phase is not Phase.WAITING_CLOSE:
            raise RpcError("channel not found")
        commitments = {each.transaction.txid for each in closure.commitments.values()}
        anchors = [
            sweep
            for sweep in list(self._sweeper.pending)
            if sweep.witness_type == WitnessType.COMMITMENT_ANCHOR
            and sweep.outpoint.txid in commitments
        ]
        if not anchors:
            raise RpcError("unable to find pending anchor outputs")
        for anchor in anchors:
            bump = self._read(
                walletkit_pb2.BumpFeeRequest(
                    target_conf=request.target_conf,
                    sat_per_vbyte=request.starting_feerate,
                    immediate=request.immediate,
                    budget=request.budget,
                    deadline_delta=request.deadline_delta,
                )
            )
            self._change(anchor, bump)
        return walletkit_pb2.BumpForceCloseFeeResponse(
            status="Successfully registered anchor-cpfp transaction to"
            "bump channel force close transaction"
        )

    def _read(self, request: walletkit_pb2.BumpFeeRequest) -> Bump:
        if request.target_conf and request.sat_per_vbyte:
            raise RpcError(
                "either TargetConf or SatPerVbyte should be set, to specify the starting fee "
                "rate of the fee function"
            )
        if request.deadline_delta and not request.budget:
            raise RpcError("budget must be set if deadline-delta is set")
        start_sat_per_kw = None
        if request.sat_per_vbyte:
            start_sat_per_kw = request.sat_per_vbyte * SAT_PER_KW
        elif request.target_conf:
            start_sat_per_kw = self._fees.estimate_sat_per_kw(request.target_conf)
        deadline_height = None
        if request.deadline_delta:
            deadline_height = self._view.height + request.deadline_delta
        return Bump(start_sat_per_kw, request.immediate, request.budget, deadline_height)

    def _change(self, sweep: Sweep, bump: Bump) -> None:
        sweep.budget_sat = bump.budget_sat or sweep.budget_sat
        if bump.deadline_height is not None:
            sweep.deadline_height = bump.deadline_height
        if bump.start_sat_per_kw is not None:
            sweep.start_sat_per_kw = bump.start_sat_per_kw
        sweep.is_immediate = bump.is_immediate
        self._sweeper.reconsider(sweep)

    def _sweep_coin(self, outpoint: Outpoint, bump: Bump) -> None:
        """Spends a coin of the wallet that is not in a block, to pay for its transaction."""
        for known in self._wallets.transactions(self._node):
            outputs = known.transaction.outputs
            if known.transaction.txid == outpoint.txid and outpoint.index < len(outputs):
                output = outputs[outpoint.index]
                if output.kind is OutputKind.WALLET and output.owner == self._node:
                    break
        else:
            raise RpcError("the passed output does not belong to the wallet")
        if known.height is not None:
            raise RpcError("unable to bump fee of a confirmed transaction")
        coin = Sweep(
            outpoint,
            WitnessType.TAPROOT_PUB_KEY_SPEND,
            WALLET_WITNESS,
            amount_sat=output.amount_sat,
            budget_sat=bump.budget_sat or output.amount_sat // 2,
            deadline_height=bump.deadline_height or self._closures.no_hurry,
            start_sat_per_kw=bump.start_sat_per_kw,
            is_immediate=bump.is_immediate,
        )
        self._sweeper.offer(coin)
        self._sweeper.reconsider(coin)


def _outpoint(message: lightning_pb2.OutPoint) -> Outpoint:
    if not message.txid_bytes and not message.txid_str:
        raise RpcError("TxidBytes and TxidStr are both unspecified")
    txid = message.txid_bytes[::-1].hex() if message.txid_bytes else message.txid_str
    return Outpoint(txid, message.output_index)


def _pending(sweep: Sweep) -> walletkit_pb2.PendingSweep:
    return walletkit_pb2.PendingSweep(
        outpoint=outpoint_message(sweep.outpoint),
        witness_type=sweep.witness_type,
        amount_sat=sweep.amount_sat,
        broadcast_attempts=sweep.attempts,
        sat_per_vbyte=sweep.last_sat_per_kw // SAT_PER_KW,
        requested_sat_per_vbyte=(sweep.start_sat_per_kw or 0) // SAT_PER_KW,
        immediate=sweep.is_immediate,
        budget=sweep.budget_sat,
        deadline_height=sweep.deadline_height,
        maturity_height=sweep.maturity_height,
    )
