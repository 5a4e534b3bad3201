"""No endpoint is given up by the sender: that is for an event to decide, and for one event."""

from __future__ import annotations

from pathlib import Path

import pytest

from devnet.receiver import Receiver
from fulgurite.errors import DeliveryError
from tests.webhooks.endpoints import BODY, webhooks

FAILURES = 20


async def test_an_endpoint_that_was_down_for_long_is_sent_the_next_webhook(
    receiver: Receiver, secret_path: Path
) -> None:
    async with webhooks(secret_path, shop=receiver.url) as hooks:
        await receiver.__aexit__(None, None, None)
        for number in range(FAILURES):
            with pytest.raises(DeliveryError, match="cannot connect"):
                await hooks.send("shop", f"lost_{number}", BODY)
        async with receiver:
            receiver.answer = 503
            for number in range(FAILURES):
                with pytest.raises(DeliveryError, match="503"):
                    await hooks.send("shop", f"refused_{number}", BODY)
            receiver.answer = 200
            await hooks.send("shop", "taken_1", BODY)

    assert list(receiver.taken) == ["taken_1"]
