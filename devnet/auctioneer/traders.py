"""The streams of the traders that are connected: who they are, and what they answer."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import logging
import secrets
from collections.abc import AsyncIterator, Callable, Sequence

from coincurve import PublicKey

from devnet.auctioneer.accounts import RefusedError
from devnet.auctioneer.journal import Journal
from protos.auctioneerrpc import auctioneer_pb2
from protos.auctioneerrpc.auctioneer_pb2 import ClientAuctionMessage, ServerAuctionMessage

log = logging.getLogger(__name__)

# poold gives its peers 15 s to connect and to open a channel, and then says that it failed.
_ANSWER_SECONDS = 40

# poold tries again every half second here; gRPC under it takes its time after a failure.
_CONNECT_SECONDS = 20

# Between two accounts that a poold subscribes at its start there are some milliseconds.
_QUIET_SECONDS = 1


class TraderGoneError(Exception):
    """The stream ended, or nothing came over it for too long."""


class TraderRefusedError(Exception):
    """The trader rejects the batch; the message is its own."""


class Trader:
    """One stream, for every account that its poold has.

    `run` is what this run of poold is known by: without L402 it draws a token at its start
    and sends it with every call. It is how we tell a poold that was restarted.
    """

    def __init__(self, run: str, awaited: Sequence[str] | None) -> None:
        """`awaited` are the accounts that the run had when it was here last; None: it is new."""
        self.run = run
        self.awaited = awaited if awaited is None else tuple(awaited)
        self.batch_versions: dict[str, int] = {}  # of the accounts that are subscribed
        self._outgoing: asyncio.Queue[ServerAuctionMessage | None] = asyncio.Queue()
        self._answers: asyncio.Queue[ClientAuctionMessage | None] = asyncio.Queue()
        self._commitments: dict[bytes, tuple[bytes, int]] = {}
        self._at_rest = asyncio.Event()
        self._at_rest.set()
        self._signed: set[bytes] = set()

    def send(self, message: ServerAuctionMessage) -> None:
        self._outgoing.put_nowait(message)

    def ask(self, message: ServerAuctionMessage) -> None:
        """Sends what `answer` will have the answer to."""
        self._at_rest.clear()
        self.send(message)

    def end(self) -> None:
        """Nothing more is sent, and whoever waits for an answer learns that none will come."""
        self._outgoing.put_nowait(None)
        self._answers.put_nowait(None)
        self._at_rest.set()

    async def let_go(self, batch_id: str) -> None:
        """Has the trader clean up after a batch that came to nothing, once it has answered.

        One that has signed is sent away, to ask what became of the batch when it is back;
        one that has not cleans up when the next batch comes. A poold whose stream ends
        before it could answer would take that for reason enough to end itself.
        """
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._at_rest.wait(), _ANSWER_SECONDS)
        if bytes.fromhex(batch_id) in self._signed:
            self.end()

    async def outgoing(self) -> AsyncIterator[ServerAuctionMessage]:
        while (message := await self._outgoing.get()) is not None:
            yield message

    def answered(self, message: ClientAuctionMessage) -> None:
        if message.HasField("sign"):
            self._signed.add(message.sign.batch_id)
        self._answers.put_nowait(message)
        self._at_rest.set()

    async def answer(self, batch_id: str) -> ClientAuctionMessage:
        """The next answer about a batch; what came late about another one is passed over."""
        while True:
            try:
                message = await asyncio.wait_for(self._answers.get(), _ANSWER_SECONDS)
            except TimeoutError as error:
                raise TraderGoneError(f"no answer within {_ANSWER_SECONDS} s") from error
            if message is None:
                raise TraderGoneError("its stream ended")
            answer = message.accept if message.HasField("accept") else message.sign
            if message.HasField("reject"):
                if message.reject.batch_id.hex() == batch_id:
                    raise TraderRefusedError(message.reject.reason)
            elif answer.batch_id.hex() == batch_id:
                return message

    def challenge(self, commitment: auctioneer_pb2.AccountCommitment) -> None:
        """The second of the three steps by which a trader shows that it has an account's key."""
        challenge = hashlib.sha256(commitment.commit_hash + secrets.token_bytes(32)).digest()
        self._commitments[commitment.commit_hash] = challenge, commitment.batch_version
        self.send(
            ServerAuctionMessage(
                challenge=auctioneer_pb2.ServerChallenge(
                    challenge=challenge, commit_hash=commitment.commit_hash
                )
            )
        )

    def identify(self, subscription: auctioneer_pb2.AccountSubscription) -> str:
        """The key of the account, when the third step holds."""
        trader_key = subscription.trader_key
        commit_hash = hashlib.sha256(trader_key + subscription.commit_nonce).digest()
        if commit_hash not in self._commitments:
            raise RefusedError("the subscription does not open its commitment")
        challenge, batch_version = self._commitments.pop(commit_hash)
        signed = hashlib.sha256(commit_hash + challenge).digest()
        # lnd hashes once more what it signs, and so does coincurve.
        if not PublicKey(trader_key).verify(subscription.auth_sig, signed):
            raise RefusedError("the subscription is not signed with the account's key")
        self.batch_versions[trader_key.hex()] = batch_version
        return trader_key.hex()


class Traders:
    """Who is connected, by account, once its poold can be talked to about a batch.

    While poold subscribes its accounts, one after the other, it takes no other message from
    its stream: one that comes too soon stops it for good. So it is left alone until every
    account is there that this run of it had before, or, for a new run, until it is quiet.
    """

    def __init__(self, journal: Journal) -> None:
        self.when_ready: Callable[[Trader], None] = lambda _: None
        self._journal = journal
        self._by_account: dict[str, Trader] = {}
        self._pending_in: set[tuple[str, str]] = set()
        self._changed = asyncio.Condition()
        self._quiet: dict[Trader, asyncio.Task[None]] = {}

    def connected(self, run: str) -> Trader:
        return Trader(run, self._journal.book.runs.get(run))

    async def subscribed(self, trader_key: str, trader: Trader) -> None:
        accounts = self._journal.book.runs.setdefault(trader.run, [])
        if trader_key not in accounts:
            accounts.append(trader_key)
            self._journal.save()
        if trader.awaited is None:
            self._forget_quiet(trader)
            self._quiet[trader] = asyncio.create_task(self._ready_when_quiet(trader))
        elif trader.batch_versions.keys() >= set(trader.awaited):
            await self._ready(trader)

    def gone(self, trader: Trader) -> None:
        log.info("%s is gone", trader.run)
        trader.end()
        self._forget_quiet(trader)
        for trader_key in trader.batch_versions:
            if self._by_account.get(trader_key) is trader:
                del self._by_account[trader_key]

    async def of(self, trader_key: str) -> Trader:
        """Who is there for an account. One that just lost us is given the time to come back.

        Raises TimeoutError when nobody comes.
        """
        await asyncio.wait_for(self.all_of((trader_key,)), _CONNECT_SECONDS)
        return self._by_account[trader_key]

    async def all_of(self, trader_keys: tuple[str, ...]) -> None:
        """Returns when somebody is there for each of the accounts."""
        async with self._changed:
            await self._changed.wait_for(lambda: self._by_account.keys() >= set(trader_keys))

    def asked_for(self, run: str, batch_id: str) -> None:
        """When poold connects, it asks for the batch that it holds for pending."""
        self._pending_in.add((run, batch_id))

    def holds_pending(self, run: str, batch_id: str) -> bool:
        """Whether it did since it was last told; to be told once is all that it stands."""
        known = (run, batch_id) in self._pending_in
        self._pending_in.discard((run, batch_id))
        return known

    async def _ready(self, trader: Trader) -> None:
        log.info("%s is here with %d accounts", trader.run, len(trader.batch_versions))
        for trader_key in trader.batch_versions:
            self._by_account[trader_key] = trader
        self.when_ready(trader)
        async with self._changed:
            self._changed.notify_all()

    async def _ready_when_quiet(self, trader: Trader) -> None:
        await asyncio.sleep(_QUIET_SECONDS)
        await self._ready(trader)

    def _forget_quiet(self, trader: Trader) -> None:
        if waiting := self._quiet.pop(trader, None):
            waiting.cancel()
