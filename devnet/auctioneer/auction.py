"""Batches: shown to both traders, signed by all three, in the journal, and then published.

A poold that has signed waits for the end. When it is told, it must hold the batch for
pending, or it crashes; when it is never told, it refuses every later batch until it is
restarted. So this module always comes back to a batch, after kill -9 too.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import time
from dataclasses import dataclass

from devnet.auctioneer import terms
from devnet.auctioneer.accounts import Accounts, RefusedError
from devnet.auctioneer.chain import Chain
from devnet.auctioneer.journal import Account, Batch, BatchState, Journal, Life, Order
from devnet.auctioneer.market import Market, Match
from devnet.auctioneer.musig2 import MuSig2Error, Nonces, Session
from devnet.auctioneer.scripts import funding_script
from devnet.auctioneer.traders import Trader, TraderGoneError, TraderRefusedError, Traders
from devnet.auctioneer.transaction import Input, OutPoint, Output, Transaction
from protos.auctioneerrpc import auctioneer_pb2
from protos.auctioneerrpc.auctioneer_pb2 import ServerAuctionMessage

log = logging.getLogger(__name__)

# A transaction that nobody ever makes: poold, asking for a batch that was abandoned, drops
# what it holds pending because its own is another.
_NEVER = Transaction((Input(OutPoint("00" * 32, 0), Output(0, b"")),), (Output(0, b""),))


class NothingToClearError(Exception):
    """No ask and bid agree, or one of their traders cannot take part; the message says which."""


@dataclass(frozen=True)
class Faults:
    """What a test wants to go wrong: our own end at a step, or a wrong sum for the traders."""

    die_at: str = ""  # accepted, signed or published
    cheat_sat: int = 0  # what the accounts are told to be short of


NO_FAULTS = Faults()


@dataclass(frozen=True)
class Seat:
    """One side of a batch: its order, its account before and after, and where it is reached."""

    order: Order
    account: Account
    life: Life
    becomes: Life
    trader: Trader

    @property
    def key(self) -> str:
        return self.account.trader_key


class Auction:
    def __init__(
        self, journal: Journal, chain: Chain, accounts: Accounts, market: Market, traders: Traders
    ) -> None:
        self._journal = journal
        self._chain = chain
        self._accounts = accounts
        self._market = market
        self._traders = traders
        self._one_at_a_time = asyncio.Lock()
        self._again: set[asyncio.Task[None]] = set()
        traders.when_ready = self._made_final

    async def recover(self) -> None:
        """What a kill left open: signed batches are published, others are begun anew."""
        for batch in self._journal.book.batches.values():
            if batch.state is BatchState.SIGNED:
                await self._chain.publish(batch.txid, bytes.fromhex(batch.transaction))
            elif batch.state is BatchState.PREPARED:
                keys = tuple(
                    self._market.order(nonce).details.trader_key.hex()
                    for nonce in (batch.ask, batch.bid)
                )
                self._abandon(batch)
                self._again.add(asyncio.create_task(self._clear_with(keys)))

    async def clear(self, faults: Faults = NO_FAULTS) -> Batch:
        """Takes one ask and one bid through a whole batch, and returns when it is final.

        The orders stay in the book after NothingToClearError, TraderGoneError and
        TraderRefusedError.
        """
        async with self._one_at_a_time:
            match, seats = await self._next()
            batch = Batch(
                id=self._journal.next_batch_id(),
                ask=match.ask.nonce,
                bid=match.bid.nonce,
                units=match.units,
                created_ns=time.time_ns(),
            )
            self._journal.book.batches[batch.id] = batch
            self._journal.save()
            log.info("batch %s: %d units at %d ppb", batch.id, match.units, match.rate_ppb)
            try:
                await self._conduct(batch, match, seats, faults)
            except (TraderGoneError, TraderRefusedError, MuSig2Error) as error:
                log.warning("batch %s is abandoned: %s", batch.id, error)
                self._abandon(batch)
                await asyncio.gather(*(seat.trader.let_go(batch.id) for seat in seats))
                raise
            return batch

    def _made_final(self, trader: Trader) -> None:
        """Tells a trader that has come back of the batch that it still waits for."""
        for batch in self._journal.book.batches.values():
            if (
                batch.state is BatchState.SIGNED
                and trader.run in batch.signers.values()
                and self._traders.holds_pending(trader.run, batch.id)
            ):
                trader.send(_finalize(batch))

    def snapshot(self, batch_id: str, run: str) -> auctioneer_pb2.BatchSnapshotResponse:
        """A batch that is final, or that never will be."""
        self._traders.asked_for(run, batch_id)
        batch = self._journal.book.batches.get(batch_id)
        if batch is None or batch.state is BatchState.PREPARED:
            raise RefusedError("batch snapshot not found")
        signed = batch.state is BatchState.SIGNED
        return auctioneer_pb2.BatchSnapshotResponse(
            batch_id=bytes.fromhex(batch_id),
            batch_tx=bytes.fromhex(batch.transaction) if signed else _NEVER.serialize(),
            batch_tx_id=batch.txid if signed else _NEVER.txid,
            batch_tx_fee_rate_sat_per_kw=terms.FEE_RATE_SAT_PER_KW,
            creation_timestamp_ns=batch.created_ns,
        )

    async def _clear_with(self, trader_keys: tuple[str, ...]) -> None:
        await self._traders.all_of(trader_keys)
        try:
            await self.clear()
        except (NothingToClearError, RefusedError, TraderGoneError, TraderRefusedError) as error:
            log.warning("what a kill left open is not cleared: %s", error)

    def _abandon(self, batch: Batch) -> None:
        batch.state = BatchState.ABANDONED
        self._journal.save()

    async def _next(self) -> tuple[Match, tuple[Seat, Seat]]:
        reason = "no ask and bid agree"
        for match in self._market.matches():
            asker, bidder = [await self._accounts.settled(key) for key in match.trader_keys]
            if not match.affordable(asker[1].value_sat, bidder[1].value_sat):
                reason = "an account has too little"
                continue
            ending = match.ending_sat(asker[1].value_sat, bidder[1].value_sat)
            try:
                return match, (
                    await self._seat(match.ask, *asker, ending[0]),
                    await self._seat(match.bid, *bidder, ending[1]),
                )
            except NothingToClearError as error:
                reason = str(error)
        raise NothingToClearError(reason)

    async def _seat(self, order: Order, account: Account, life: Life, ending_sat: int) -> Seat:
        try:
            trader = await self._traders.of(account.trader_key)
        except TimeoutError as error:
            raise NothingToClearError(f"nobody is here for {account.trader_key}") from error
        confirmations = await self._accounts.confirmations(account, life)
        if account.closing or confirmations < terms.ACCOUNT_CONFIRMATIONS:
            raise NothingToClearError(f"account {account.trader_key} is not open")
        becomes = life.model_copy(update={"value_sat": ending_sat, "spends": life.spends + 1})
        return Seat(order, account, life, becomes, trader)

    async def _conduct(
        self, batch: Batch, match: Match, seats: tuple[Seat, Seat], faults: Faults
    ) -> None:
        transaction = self._transaction(match, seats)
        height = await self._chain.height()
        for seat in seats:
            prepare = self._prepare(batch, match, seat, transaction, height)
            prepare.charged_accounts[0].ending_balance -= faults.cheat_sat
            seat.trader.ask(ServerAuctionMessage(prepare=prepare))
        for seat in seats:
            await seat.trader.answer(batch.id)
        _die("accepted", faults)

        signed = await self._signed(batch, seats, transaction)
        batch.transaction, batch.txid = signed.serialize().hex(), signed.txid
        batch.signers = {seat.key: seat.trader.run for seat in seats}
        for seat in seats:
            seat.becomes.txid = signed.txid
            seat.becomes.index = signed.index_of(
                self._journal.output(seat.account, seat.becomes).script
            )
            seat.account.life, seat.account.next_lives = seat.becomes, []
            seat.order.fill(batch.units)
        batch.state = BatchState.SIGNED
        self._journal.save()
        _die("signed", faults)

        await self._chain.publish(batch.txid, signed.serialize())
        _die("published", faults)
        for seat in seats:
            seat.trader.send(_finalize(batch))

    def _transaction(self, match: Match, seats: tuple[Seat, Seat]) -> Transaction:
        """Both accounts into the channel and both accounts; what is over goes to the miners."""
        channel = funding_script(match.ask.details.multi_sig_key, match.bid.details.multi_sig_key)
        return Transaction.of(
            [
                Input(seat.life.outpoint, self._journal.output(seat.account, seat.life))
                for seat in seats
            ],
            [
                Output(match.channel_sat, channel),
                *(self._journal.output(seat.account, seat.becomes) for seat in seats),
            ],
        )

    def _prepare(
        self, batch: Batch, match: Match, seat: Seat, transaction: Transaction, height: int
    ) -> auctioneer_pb2.OrderMatchPrepare:
        """The batch as the trader in `seat` is shown it: the other's order, its own account."""
        other = auctioneer_pb2.MatchedOrder()
        if seat.order is match.ask:
            other.matched_bids.add(bid=match.bid.bid, units_filled=batch.units)
        else:
            other.matched_asks.add(ask=match.ask.ask, units_filled=batch.units)
        market = auctioneer_pb2.MatchedMarket(
            matched_orders={seat.order.nonce: other}, clearing_price_rate=match.rate_ppb
        )
        becomes = self._journal.output(seat.account, seat.becomes)
        diff = auctioneer_pb2.AccountDiff(
            ending_balance=seat.becomes.value_sat,
            ending_state=auctioneer_pb2.AccountDiff.OUTPUT_RECREATED,
            outpoint_index=transaction.index_of(becomes.script),
            trader_key=bytes.fromhex(seat.key),
        )
        return auctioneer_pb2.OrderMatchPrepare(
            charged_accounts=[diff],
            execution_fee=terms.execution_fee(),
            batch_transaction=transaction.serialize(),
            fee_rate_sat_per_kw=terms.FEE_RATE_SAT_PER_KW,
            batch_id=bytes.fromhex(batch.id),
            batch_version=seat.trader.batch_versions[seat.key],
            matched_markets={match.duration_blocks: market},
            batch_height_hint=height,
        )

    async def _signed(
        self, batch: Batch, seats: tuple[Seat, Seat], transaction: Transaction
    ) -> Transaction:
        """With both signatures, each made of a trader's half and ours."""
        nonces = {seat.key: Nonces.fresh() for seat in seats}
        spent = [
            auctioneer_pb2.TxOut(value=each.spent.value_sat, pk_script=each.spent.script)
            for each in transaction.inputs
        ]
        for seat in seats:
            seat.trader.ask(
                ServerAuctionMessage(
                    sign=auctioneer_pb2.OrderMatchSignBegin(
                        batch_id=bytes.fromhex(batch.id),
                        server_nonces={seat.key: nonces[seat.key].public},
                        prev_outputs=spent,
                    )
                )
            )
        signatures: dict[int, bytes] = {}
        for seat in seats:
            theirs = (await seat.trader.answer(batch.id)).sign
            at = transaction.position_of(seat.life.outpoint)
            session = Session(
                self._journal.lock(seat.account, seat.life).key,
                [nonces[seat.key].public, theirs.trader_nonces[seat.key]],
                transaction.sighash(at),
            )
            ours = session.sign(self._journal.private_key, nonces[seat.key])
            signatures[at] = session.combine([ours, theirs.account_sigs[seat.key]])
        return transaction.witnessed([signatures[at] for at in sorted(signatures)])


def _finalize(batch: Batch) -> ServerAuctionMessage:
    return ServerAuctionMessage(
        finalize=auctioneer_pb2.OrderMatchFinalize(
            batch_id=bytes.fromhex(batch.id), batch_txid=bytes.fromhex(batch.txid)[::-1]
        )
    )


def _die(step: str, faults: Faults) -> None:
    if step == faults.die_at:
        os.kill(os.getpid(), signal.SIGKILL)
