"""Accounts: reserved, funded, and signed for when their trader changes them."""

from __future__ import annotations

from devnet.auctioneer.chain import Chain
from devnet.auctioneer.journal import Account, Journal, Life
from devnet.auctioneer.musig2 import Nonces, Session
from devnet.auctioneer.scripts import batch_key
from devnet.auctioneer.terms import MAX_ACCOUNT_SAT
from devnet.auctioneer.transaction import Input, OutPoint, Output, Transaction
from protos.auctioneerrpc import auctioneer_pb2

# poold's number for Taproot with MuSig2 as in BIP 327, which it takes for every new account
# with an lnd of these years.
TAPROOT_V2 = 2


class RefusedError(Exception):
    """What a trader asks for is not done; the message says why."""


class Accounts:
    def __init__(self, journal: Journal, chain: Chain) -> None:
        self._journal = journal
        self._chain = chain

    async def reserve(self, request: auctioneer_pb2.ReserveAccountRequest) -> None:
        """Remembers what an account is to be. Once more is no error."""
        if request.version != TAPROOT_V2:
            raise RefusedError(f"this auctioneer has accounts of version {TAPROOT_V2} only")
        if request.account_value > MAX_ACCOUNT_SAT:
            raise RefusedError(f"an account holds {MAX_ACCOUNT_SAT} sat at most")
        trader_key = request.trader_key.hex()
        if trader_key not in self._journal.book.accounts:
            self._journal.book.accounts[trader_key] = Account(
                trader_key=trader_key,
                height_hint=await self._chain.height(),
                value_sat=request.account_value,
                expiry=request.account_expiry,
            )
            self._journal.save()

    def initial_keys(self) -> auctioneer_pb2.ReserveAccountResponse:
        return auctioneer_pb2.ReserveAccountResponse(
            auctioneer_key=self._journal.private_key.public_key.format(),
            initial_batch_key=batch_key(self._journal.first_batch_key, 0),
        )

    def init(self, request: auctioneer_pb2.ServerInitAccountRequest) -> None:
        """Takes an output for the account that was reserved. Once more is no error."""
        account = self.known(request.trader_key.hex())
        if account.life is not None:
            return
        point = OutPoint.from_wire(request.account_point.txid, request.account_point.output_index)
        life = Life(
            txid=point.txid,
            index=point.index,
            value_sat=request.account_value,
            expiry=request.account_expiry,
            spends=0,
        )
        if self._journal.output(account, life).script != request.account_script:
            raise RefusedError("the account's script is not the one of its keys and expiry")
        account.life = life
        self._journal.save()

    def known(self, trader_key: str) -> Account:
        account = self._journal.book.accounts.get(trader_key)
        if account is None:
            raise RefusedError(f"account {trader_key} was never reserved")
        return account

    async def settled(self, trader_key: str) -> tuple[Account, Life]:
        """The account, and the life that the chain says it is in."""
        account = self.known(trader_key)
        for life in account.next_lives:
            if await self._chain.unspent(life.outpoint) is not None:
                account.life, account.next_lives, account.closing = life, [], False
                self._journal.save()
                break
        if account.life is None:
            raise RefusedError(f"account {trader_key} was never funded")
        return account, account.life

    async def confirmations(self, account: Account, life: Life) -> int:
        """How deep the account is in the chain; 0 also for one that is spent, or is none."""
        found = await self._chain.unspent(life.outpoint)
        if found is None or found.output != self._journal.output(account, life):
            return 0
        return found.confirmations

    async def modify(
        self, request: auctioneer_pb2.ServerModifyAccountRequest
    ) -> auctioneer_pb2.ServerModifyAccountResponse:
        """Signs our half of the transaction that both of us make of the request."""
        account, life = await self.settled(request.trader_key.hex())
        if self._journal.in_batch(account.trader_key):
            raise RefusedError("the account is in a batch that is not final")
        outputs = [Output(each.value, each.script) for each in request.new_outputs]
        becomes: Life | None = None
        if request.HasField("new_params"):
            becomes = life.model_copy(
                update={
                    "value_sat": request.new_params.value,
                    "expiry": request.new_params.expiry,
                    "spends": life.spends + 1,
                }
            )
            outputs.append(self._journal.output(account, becomes))
        transaction = Transaction.of(self._inputs(request, account, life), outputs)
        if transaction.fee_sat < 0:
            raise RefusedError("more would go out than comes in")

        nonces = Nonces.fresh()
        sighash = transaction.sighash(transaction.position_of(life.outpoint))
        key = self._journal.lock(account, life).key
        session = Session(key, [request.trader_nonces, nonces.public], sighash)
        signature = session.sign(self._journal.private_key, nonces)
        if becomes is None:
            account.closing = True
        else:
            becomes.txid = transaction.txid
            becomes.index = transaction.index_of(self._journal.output(account, becomes).script)
            account.next_lives.append(becomes)
        # Before it is given away: it can be published from then on.
        self._journal.save()
        return auctioneer_pb2.ServerModifyAccountResponse(
            account_sig=signature, server_nonces=nonces.public
        )

    def _inputs(
        self, request: auctioneer_pb2.ServerModifyAccountRequest, account: Account, life: Life
    ) -> list[Input]:
        """The account and what is added to it, each with the output that it spends."""
        scripts = {
            OutPoint.from_wire(each.outpoint.txid, each.outpoint.output_index): each.sig_script
            for each in request.new_inputs
        }
        scripts[life.outpoint] = b""
        if len(request.prev_outputs) != len(scripts):
            raise RefusedError("each input needs the output that it spends")
        # The order is BIP 69's, so the previous outputs are told in it.
        inputs = [
            Input(outpoint, Output(spent.value, spent.pk_script), scripts[outpoint])
            for outpoint, spent in zip(sorted(scripts), request.prev_outputs, strict=True)
        ]
        own = next(each for each in inputs if each.outpoint == life.outpoint)
        if own.spent != self._journal.output(account, life):
            raise RefusedError("the account is not what the request says it is")
        return inputs
