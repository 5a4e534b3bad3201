"""Defects of events and webhooks: not sent, sent twice, sent to where nothing may go, or leaky."""

from __future__ import annotations

from mutants.mutant import Mutant

_ADDRESSES = "tests/webhooks/test_addresses.py::test_"
_ANNOUNCER = "tests/unit/test_announcer.py::test_"
_CONFIG = "tests/webhooks/test_config.py::test_"
_DELIVERY = "tests/unit/test_event_delivery.py::test_"
_GUARDING = "tests/webhooks/test_guarding.py::test_"
_RECOVERING = "tests/webhooks/test_recovering.py::test_"
_RESOLVING = "tests/webhooks/test_resolving.py::test_"
_ROUTING = "tests/streams/test_routing.py::test_"
_SENDER = "tests/webhooks/test_sender.py::test_"
_SIGNING = "tests/webhooks/test_signing.py::test_"
_WORKFLOW = "tests/unit/test_event_workflow.py::test_"

TELLING = (
    # Q: a paid invoice without a webhook; no more webhooks after some that failed.
    Mutant(
        name="what-cannot-be-made-durable-is-forgotten",
        incident="Q",
        harm="Temporal does not answer at the moment of the payment, and no webhook is ever sent",
        path="activities/events.py",
        old="        except WorkflowAlreadyStartedError:\n",
        new="        except Exception:\n",
        killers=(f"{_ANNOUNCER}what_could_not_be_made_durable_is_not_said_to_be",),
    ),
    Mutant(
        name="webhooks-end-after-three-failures",
        incident="Q",
        harm="an endpoint that is down for an hour misses what happened in it",
        path="fulgurite/events/delivery.py",
        old="    if tries > len(PAUSES):",
        new="    if tries > 3:",
        killers=(f"{_DELIVERY}what_failed_is_sent_again_for_days",),
    ),
    Mutant(
        name="a-failed-try-means-gone",
        incident="Q",
        harm="one 503, and the event is dead",
        path="workflows/event.py",
        old="        return cause.message, cause.type == EndpointGoneError.__name__",
        new="        return cause.message, True",
        killers=(f"{_WORKFLOW}an_endpoint_that_failed_is_told_by_a_later_try",),
    ),
    Mutant(
        name="an-endpoint-that-failed-is-switched-off",
        incident="Q",
        harm="after a few failures no webhook is sent to an endpoint any more, until a restart",
        path="nodes/webhooks/sender.py",
        old='            raise DeliveryError(f"{self._told}: {self._reason(error)}") from None',
        new='            reason = DeliveryError(f"{self._told}: {self._reason(error)}")\n'
        "            async def send(*_: object) -> Answer:\n                raise reason\n"
        "            self.send = send\n            raise reason from None",
        killers=(f"{_RECOVERING}an_endpoint_that_was_down_for_long_is_sent_the_next_webhook",),
    ),
    Mutant(
        name="any-answer-is-a-yes",
        incident="Q",
        harm="the receiver's proxy says 502, and the webhook counts as delivered",
        path="nodes/webhooks/sender.py",
        old="        if HTTPStatus.OK <= status < HTTPStatus.MULTIPLE_CHOICES:",
        new="        if status:",
        killers=(f"{_SENDER}an_answer_that_is_no_2xx_is_a_failed_try",),
    ),
    Mutant(
        name="who-was-ended-by-force-was-told",
        incident="Q",
        harm="an invoice whose workflow was terminated is paid, and nobody hears of it",
        path="activities/routing.py",
        old="    if described is None or described.status is not WorkflowExecutionStatus.COMPLETED",
        new="    if described is None",
        killers=(f"{_ROUTING}a_workflow_that_was_ended_by_force_is_stood_in_for",),
    ),
    # V: a webhook's URL that leads into our own network.
    Mutant(
        name="only-the-first-answer-is-judged",
        incident="V",
        harm="a name with a public address and a private one leads inside",
        path="nodes/webhooks/addresses.py",
        old="        for answer in answers:",
        new="        for answer in answers[:1]:",
        killers=(f"{_ADDRESSES}a_name_with_one_forbidden_answer_is_refused_whole",),
    ),
    Mutant(
        name="sockets-are-not-guarded",
        incident="V",
        harm="whatever the client connects to without asking the resolver is connected",
        path="nodes/webhooks/sender.py",
        old="                socket_factory=guarded_socket(allow, public=public),\n",
        new="",
        killers=(f"{_GUARDING}the_socket_refuses_what_a_deceived_resolver_lets_through",),
    ),
    Mutant(
        name="redirects-are-followed",
        incident="V",
        harm="a public endpoint sends the signed request on to wherever it likes",
        path="nodes/webhooks/sender.py",
        old="allow_redirects=False",
        new="allow_redirects=True",
        killers=(f"{_GUARDING}a_redirect_is_told_and_not_followed",),
    ),
    Mutant(
        name="http-goes-anywhere",
        incident="V",
        harm="what was allowed for development is sent over the internet in plain text",
        path="nodes/webhooks/addresses.py",
        old="    return public and _is_public(end)",
        new="    return _is_public(end)",
        killers=(f"{_ADDRESSES}by_http_only_the_allow_list_is_reached",),
    ),
    Mutant(
        name="metadata-services-can-be-allowed",
        incident="V",
        harm="an allow-list drawn too wide hands out a cloud's credentials",
        path="nodes/webhooks/addresses.py",
        old="    if end in _METADATA:",
        new="    if False:",
        killers=(f"{_ADDRESSES}metadata_services_are_refused_inside_every_allow_list",),
    ),
    Mutant(
        name="an-address-in-ipv6-clothes-is-public",
        incident="V",
        harm="64:ff9b::127.0.0.1 is global unicast by its looks, and leads to loopback",
        path="nodes/webhooks/addresses.py",
        old="    end: Address = IPv4Address(address.packed[-4:]) if address in _NAT64 else address",
        new="    end: Address = IPv4Address(0x08080808) if address in _NAT64 else address",
        killers=(f"{_ADDRESSES}an_ipv4_address_is_judged_alike_in_every_clothing",),
    ),
    Mutant(
        name="a-number-is-a-name",
        incident="V",
        harm="0x7f000001 counts as a name, and libc takes it for loopback",
        path="nodes/webhooks/addresses.py",
        old="    if not _NUMBER.fullmatch(",
        new='    if not re.fullmatch(r"\\d+", ',
        killers=(f"{_ADDRESSES}no_url_leads_to_a_forbidden_host_whatever_its_spelling",),
    ),
    Mutant(
        name="urls-are-not-checked-when-configured",
        incident="V",
        harm="a URL that leads inside is found out when the first webhook is due, or never",
        path="nodes/webhooks/config.py",
        old="            check_url(self.url, self.allow_networks)",
        new="            pass",
        killers=(f"{_CONFIG}an_unsafe_url_is_refused_when_it_is_configured",),
    ),
    Mutant(
        name="the-environments-proxy-is-used",
        incident="V",
        harm="a proxy connects to where our own sockets would not",
        path="nodes/webhooks/sender.py",
        old="trust_env=False",
        new="trust_env=True",
        killers=(f"{_GUARDING}a_proxy_of_the_environment_is_not_used",),
    ),
    # X: one lock around everything.
    Mutant(
        name="one-webhook-at-a-time",
        incident="X",
        harm="an endpoint that hangs holds up every other endpoint",
        path="nodes/webhooks/sender.py",
        old="        return await self._endpoint(name).send(message_id, body)",
        new="        import asyncio\n\n"
        '        self._one = getattr(self, "_one", asyncio.Lock())\n'
        "        async with self._one:\n"
        "            return await self._endpoint(name).send(message_id, body)",
        killers=(f"{_SENDER}a_hanging_endpoint_does_not_delay_another",),
    ),
    Mutant(
        name="endpoints-are-told-in-turn",
        incident="X",
        harm="an event waits for days until the first endpoint has taken it or is dead",
        path="workflows/event.py",
        old="            self._begin(name)\n        # Not",
        new="            self._begin(name)\n            await self._under_way[-1]\n        # Not",
        killers=(f"{_WORKFLOW}no_endpoint_waits_for_another",),
    ),
    Mutant(
        name="who-cannot-wait-uses-up-the-tries",
        incident="X",
        harm="an operator who repairs a receiver kills its webhooks by asking for them",
        path="workflows/event.py",
        old="not (forgiven or hurried)",
        new="not forgiven",
        killers=(f"{_WORKFLOW}who_cannot_wait_uses_up_none_of_the_tries",),
    ),
    Mutant(
        name="a-lost-try-puts-the-next-off-for-a-day",
        incident="X",
        harm="a worker dies, an operator asks for the next try, and the one after it is a day away",
        path="workflows/event.py",
        old="max(spent, 1)",
        new="spent",
        killers=(f"{_WORKFLOW}a_lost_try_that_was_asked_for_is_left_out_once",),
    ),
    Mutant(
        name="a-lost-worker-uses-up-the-tries",
        incident="X",
        harm="two workers that die while they tell have a merchant wait for minutes",
        path="workflows/event.py",
        old="worker_was_lost(failed) and",
        new="False and",
        killers=(f"{_WORKFLOW}tries_that_their_workers_did_not_survive_are_none_of_the_endpoints",),
    ),
    Mutant(
        name="a-turn-is-given-once",
        incident="X",
        harm="an event that is told again waits for days for one that was told long ago",
        path="workflows/event.py",
        old="        self._followers.discard(turn)\n",
        new="",
        killers=(
            f"{_WORKFLOW}an_event_that_is_told_again_gets_its_turn_again_from_one_that_is_still_told",
        ),
    ),
    Mutant(
        name="names-share-the-process-threads",
        incident="X",
        harm="a name server that hangs holds up every other look-up of the process",
        path="nodes/webhooks/resolving.py",
        old="run_in_executor(self._threads, ask)",
        new="run_in_executor(None, ask)",
        killers=(f"{_RESOLVING}a_name_is_looked_up_though_every_thread_of_the_process_hangs",),
    ),
    # Invariant 5: an event is told once.
    Mutant(
        name="an-events-id-is-made-of-the-time",
        incident="invariant 5",
        harm="the same news, found by the stream and by a scan, are two events to a receiver",
        path="fulgurite/events/catalogue.py",
        old="        id=f\"{kind.replace('.', '-')}-{subject}\",",
        new="        id=f\"{kind.replace('.', '-')}-{subject}-{timestamp.timestamp():.0f}\",",
        killers=(f"{_DELIVERY}the_same_news_has_one_id_whoever_tells_it_and_whenever",),
    ),
    Mutant(
        name="an-event-that-ended-is-told-again",
        incident="invariant 5",
        harm="each scan of another worker sends every webhook once more",
        path="activities/events.py",
        old="WorkflowIDReusePolicy.REJECT_DUPLICATE",
        new="WorkflowIDReusePolicy.ALLOW_DUPLICATE",
        killers=(f"{_ANNOUNCER}everybody_who_wants_it_is_in_one_order_for_ever_under_one_id",),
    ),
    Mutant(
        name="an-event-under-way-begins-anew",
        incident="invariant 5",
        harm="endpoints that have taken it are sent it again",
        path="activities/events.py",
        old="WorkflowIDConflictPolicy.FAIL",
        new="WorkflowIDConflictPolicy.TERMINATE_EXISTING",
        killers=(f"{_ANNOUNCER}everybody_who_wants_it_is_in_one_order_for_ever_under_one_id",),
    ),
    Mutant(
        name="what-ended-by-itself-is-announced-too",
        incident="invariant 5",
        harm="a settlement that its workflow has told is told by the router as well",
        path="activities/routing.py",
        old="        if _knows(described) or self._is_to_itself(node, invoice):\n",
        new="        if self._is_to_itself(node, invoice):\n",
        killers=(f"{_ROUTING}a_workflow_that_has_ended_by_itself_knows",),
    ),
    # Invariant 11: no secret in plain text.
    Mutant(
        name="errors-show-the-whole-url",
        incident="invariant 11",
        harm="a token in a webhook's query is in the history and the logs",
        path="nodes/webhooks/sender.py",
        old='return f"webhook endpoint {self._name} ({self._url.host})"',
        new='return f"webhook endpoint {self._name} ({self._url})"',
        killers=(f"{_GUARDING}no_error_repeats_the_path_the_query_or_the_secret",),
    ),
    Mutant(
        name="errors-show-a-mistyped-secret",
        incident="invariant 11",
        harm="a signing secret with one wrong character is in the history",
        path="nodes/webhooks/signing.py",
        old='                f"line {number} of {path} is no webhook secret: whsec_ and',
        new='                f"{secret} is no webhook secret: whsec_ and',
        killers=(f"{_SIGNING}a_file_without_a_proper_secret_says_so_and_not_what_it_holds",),
    ),
    Mutant(
        name="a-configuration-shows-its-url",
        incident="invariant 11",
        harm="whoever logs the settings logs the endpoints' tokens",
        path="nodes/webhooks/config.py",
        old="Field(repr=False, description=",
        new="Field(description=",
        killers=(f"{_CONFIG}an_endpoint_is_printed_without_its_url",),
    ),
)
