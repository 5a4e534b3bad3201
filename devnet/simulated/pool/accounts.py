"""A trader's accounts: coins of its own in outputs that the auctioneer signs too."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from typing import Final

from coincurve import PrivateKey

from devnet.simulated.chain import Block, Chain
from devnet.simulated.errors import RpcError
from devnet.simulated.onchain.transactions import (
    Draw,
    Outpoint,
    Output,
    OutputKind,
    Spend,
    Transaction,
)
from devnet.simulated.onchain.wallets import Wallets
from devnet.simulated.pool import sums
from protos.poolrpc import trader_pb2

_FUNDING_WEIGHT: Final = 616
_CHANGE_WEIGHT: Final = 510
_PENDING: Final = (
    trader_pb2.PENDING_OPEN,
    trader_pb2.PENDING_UPDATE,
    trader_pb2.PENDING_BATCH,
    trader_pb2.PENDING_CLOSED,
)


@dataclass(eq=False)
class Account:
    """One of them, by its trader key. Its present output is `outpoint`."""

    key: bytes
    value_sat: int
    expiry_height: int
    outpoint: Outpoint
    state: trader_pb2.AccountState.ValueType = trader_pb2.PENDING_OPEN


class Accounts:
    """All that one poold has ever had. What it has stored, a restart does not take."""

    def __init__(self, node: str, chain: Chain, wallets: Wallets) -> None:
        self._node = node
        self._chain = chain
        self._wallets = wallets
        self._by_key: dict[bytes, Account] = {}
        chain.on_block(self._on_block)

    def all(self) -> list[Account]:
        return list(self._by_key.values())

    def find(self, key: bytes) -> Account:
        try:
            return self._by_key[key]
        except KeyError:
            raise RpcError("account not found") from None

    def check_value(self, value_sat: int) -> None:
        """Refuses as poold does, before anything is asked of lnd."""
        if value_sat < sums.MIN_ACCOUNT_SAT:
            raise RpcError("minimum account value allowed is 0.00100000 BTC")
        if value_sat > sums.MAX_ACCOUNT_SAT:
            raise RpcError("maximum account value allowed is 10 BTC")

    def check_expiry(self, expiry_height: int) -> None:
        height = self._chain.height
        if expiry_height < height + sums.MIN_ACCOUNT_BLOCKS:
            least = height + sums.MIN_ACCOUNT_BLOCKS
            raise RpcError(f"current minimum account expiry allowed is height {least}")
        if expiry_height > height + sums.MAX_ACCOUNT_BLOCKS:
            most = height + sums.MAX_ACCOUNT_BLOCKS
            raise RpcError(f"current maximum account expiry allowed is height {most}")

    def funding_fee_sat(self, value_sat: int, sat_per_kw: int) -> int:
        """What an opening costs. Refuses in lnd's words where the wallet has too little."""
        fee_sat = sat_per_kw * _FUNDING_WEIGHT // 1_000
        if value_sat + fee_sat > self._wallets.balance(self._node).confirmed_sat:
            raise RpcError("insufficient funds available to construct transaction")
        return fee_sat

    def open(self, value_sat: int, expiry_height: int, sat_per_kw: int) -> Account:
        """Stores it, then funds it out of lnd's wallet."""
        self.check_value(value_sat)
        self.check_expiry(expiry_height)
        fee_sat = self.funding_fee_sat(value_sat, sat_per_kw)
        key = PrivateKey(secrets.token_bytes(32)).public_key.format()
        funding = Transaction(
            publisher=self._node,
            label=f"poold -- AccountCreation(acct_key={key.hex()})",
            spends=(),
            draws=(Draw(self._node, value_sat + fee_sat),),
            outputs=(Output(OutputKind.ACCOUNT, self._node, value_sat),),
            fee_sat=fee_sat,
            weight=_FUNDING_WEIGHT,
            salt=len(self._by_key) + 1,
        )
        self._chain.publish(funding)
        self._by_key[key] = Account(key, value_sat, expiry_height, funding.outpoint(0))
        return self._by_key[key]

    def renew(self, key: bytes, expiry_height: int, sat_per_kw: int) -> Account:
        """By a transaction of its own, whose fee the account pays."""
        account = self.find(key)
        if account.state not in (trader_pb2.OPEN, trader_pb2.EXPIRED):
            raise RpcError("account must be in either of [StateOpen StateExpired] to be renewed")
        self.check_expiry(expiry_height)
        fee_sat = sat_per_kw * _CHANGE_WEIGHT // 1_000
        left = Output(OutputKind.ACCOUNT, self._node, account.value_sat - fee_sat)
        self._spend(account, "Renewal", (left,), fee_sat, _CHANGE_WEIGHT)
        account.expiry_height, account.state = expiry_height, trader_pb2.PENDING_UPDATE
        return account

    def close(self, key: bytes, sat_per_kw: int) -> Transaction:
        """Everything back to the wallet."""
        account = self.find(key)
        if account.state in (trader_pb2.PENDING_CLOSED, trader_pb2.CLOSED):
            raise RpcError("account has already been closed")
        fee_sat = sat_per_kw * _CHANGE_WEIGHT // 1_000
        home = Output(OutputKind.WALLET, self._node, account.value_sat - fee_sat)
        closing = self._spend(account, "AccountClosure", (home,), fee_sat, _CHANGE_WEIGHT)
        account.state = trader_pb2.PENDING_CLOSED
        return closing

    def pay(self, account: Account, amount_sat: int, fee_sat: int, weight: int) -> Transaction:
        """A batch: `amount_sat` leaves it for makers and auctioneer, and its share of the fee."""
        left_sat = account.value_sat - amount_sat - fee_sat
        outputs = (
            Output(OutputKind.ACCOUNT, self._node, left_sat),
            Output(OutputKind.FOREIGN, self._node, amount_sat),
        )
        batch = self._spend(account, "BatchExecution", outputs, fee_sat, weight)
        account.state = trader_pb2.PENDING_BATCH
        return batch

    def _spend(
        self,
        account: Account,
        what: str,
        outputs: tuple[Output, ...],
        fee_sat: int,
        weight: int,
    ) -> Transaction:
        if outputs[0].amount_sat <= 0:
            raise RpcError("new account output is below min dust")
        spending = Transaction(
            publisher=self._node,
            label=f"poold -- {what}(acct_key={account.key.hex()})",
            spends=(Spend(account.outpoint, self._node),),
            draws=(),
            outputs=outputs,
            fee_sat=fee_sat,
            weight=weight,
        )
        self._chain.publish(spending)
        account.outpoint, account.value_sat = spending.outpoint(0), outputs[0].amount_sat
        return spending

    def _on_block(self, block: Block) -> None:
        for account in self._by_key.values():
            if account.state in _PENDING:
                self._confirm(account, block.height)
            if account.state == trader_pb2.OPEN and account.expiry_height <= block.height:
                account.state = trader_pb2.EXPIRED

    def _confirm(self, account: Account, height: int) -> None:
        mined_at = self._chain.height_of(account.outpoint.txid)
        if mined_at is None or height - mined_at + 1 < sums.ACCOUNT_CONFIRMATIONS:
            return
        if account.state == trader_pb2.PENDING_CLOSED:
            account.state, account.value_sat = trader_pb2.CLOSED, 0
        else:
            account.state = trader_pb2.OPEN
