"""The activity that listens to a node's invoices."""

from __future__ import annotations

from datetime import timedelta

from temporalio import activity

from activities.errors import application_error
from activities.heartbeats import heartbeating, until_shutdown
from activities.invoice_stream import Listener
from activities.late_payers import LatePayers
from activities.telling import Router
from fulgurite.errors import FulguriteError
from fulgurite.identity import PaymentHash
from fulgurite.invoices.stream import LISTEN, Listen, Listened
from nodes.registry import Nodes


class InvoiceListening:
    """Listens to nodes whose invoice credential this worker holds."""

    def __init__(self, nodes: Nodes, router: Router, late_payers: LatePayers) -> None:
        self._nodes = nodes
        self._router = router
        self._late_payers = late_payers
        self._idle: dict[str, Listener] = {}

    @activity.defn(name=LISTEN.name)
    async def listen(self, ask: Listen) -> Listened:
        """Listens until `ask.until`, through every trouble that the node or the way to it has.

        Heartbeats carry how far it came, for the try after this one.
        """
        so_far = ask.so_far
        if details := activity.info().heartbeat_details:
            so_far = Listened.model_validate(details[0])
        if activity.info().attempt > 1:
            so_far = so_far.interrupted()
        try:
            listener = self._listener(ask.node, so_far)
            async with (
                heartbeating(details=lambda: listener.listened),
                self._late_payers.looking_out(ask.node),
            ):
                listened = await until_shutdown(listener.run(ask.until, ask.so_far.state))
        except FulguriteError as error:
            raise application_error(error, retryable=True) from error
        self._idle[ask.node] = listener
        return listened

    def _listener(self, node: str, so_far: Listened) -> Listener:
        """The one of the round before, if nobody has listened since: it knows what it told."""
        before = self._idle.pop(node, None)
        if before and before.listened == so_far:
            return before
        return Listener(node, self._nodes.invoices(node), self._router, _Meters(node), so_far)


class _Meters:
    """What Prometheus and the log are told. See `activities.known_invoices.Reporter`."""

    def __init__(self, node: str) -> None:
        self._node = node
        meter = activity.metric_meter().with_additional_attributes({"node": node})
        self._settlements = meter.create_counter(
            "fulgurite_invoice_settlements_total", "settlements that were told"
        )
        self._lag = meter.create_histogram_timedelta(
            "fulgurite_invoice_stream_lag_seconds", "from a settlement until it was told", "s"
        )
        self._reconnections = meter.create_counter(
            "fulgurite_invoice_stream_reconnections_total", "connections that were lost"
        )
        self._resets = meter.create_counter(
            "fulgurite_invoice_stream_resets_total", "times that the node's indices went back"
        )
        self._untold = meter.create_counter(
            "fulgurite_invoice_untold_total", "what a scan found and could not tell, in each scan"
        )

    def settlement(self, *, managed: bool, lag: timedelta) -> None:
        self._settlements.add(1, {"managed": str(managed).lower()})
        self._lag.record(lag)

    def not_told(self, payment_hash: PaymentHash, because: str) -> None:
        activity.logger.error(
            "an invoice's news could not be told; the next scan tries again",
            extra={"payment_hash": payment_hash, "because": because},
        )

    def scanned(self, *, untold: int) -> None:
        self._untold.add(untold)

    def disconnected(self, because: str, *, lost: bool) -> None:
        if lost:
            self._reconnections.add(1)
        activity.logger.warning("not connected to the node's invoices", extra={"because": because})

    def reset(self) -> None:
        self._resets.add(1)
        activity.logger.error(
            "the node's invoice indices went back; everything is listed anew",
            extra={"fulgurite_node": self._node},
        )
