"""Defects of what is done about stuck payments: the ladder, and the closing of channels."""

from __future__ import annotations

from mutants.mutant import Mutant

_LADDER = "tests/properties/test_ladder.py::test_"
_SHARED = "tests/unit/test_node_shared_sweeps.py::test_"
_STUCK = "tests/unit/test_stuck_workflow.py::test_"
_CLOSING = "tests/unit/test_closing_activities.py::test_"
_CLOSING_COURSES = "tests/properties/test_closing.py::test_"
_LIFECYCLE = "tests/properties/test_lifecycle.py::test_"

CLIMBING = (
    # 9: a force close while the payment can still resolve off chain.
    Mutant(
        name="time-closes-channels-whose-peer-is-there",
        incident="9",
        harm="a slow payee costs a channel, and the payment would have gone through",
        path="fulgurite/stuck/progress.py",
        old="[p for p in self.to_close() if p in self.away_since and at >= self._lost_at(p)]",
        new="self.to_close()",
        killers=(f"{_LADDER}time_closes_the_channels_whose_peer_is_away_and_no_other",),
    ),
    Mutant(
        name="expiry-is-always-near",
        incident="9",
        harm="the policy for the last moment closes the channel at the first",
        path="fulgurite/stuck/progress.py",
        old="if self.stakes[point].expiry_height <= last]",
        new="if self.stakes]",
        killers=(
            f"{_STUCK}the_policy_orders_it_when_expiry_is_near_and_not_a_block_before",
            f"{_LADDER}a_force_close_is_ordered_only_by_a_person_or_by_the_policy",
        ),
    ),
    Mutant(
        name="a-height-of-a-node-that-lags-orders-a-close",
        incident="9",
        harm="a node that is not in step with the chain closes a channel by a height it made up",
        path="fulgurite/stuck/progress.py",
        old="        if self.forbidden or self.tip is None or not self.tip.synced:\n",
        new="        if self.forbidden or self.tip is None:\n",
        killers=(f"{_LADDER}a_height_that_the_node_is_not_sure_of_orders_nothing",),
    ),
    Mutant(
        name="nobody-is-asked",
        incident="9",
        harm="a channel is closed by the default policy without a person's word",
        path="fulgurite/stuck/climbing.py",
        old='        return LadderEvent.OVERSTAYED, "a person is asked for the force close"\n',
        new='        return LadderEvent.DUE, "a person is asked for the force close"\n',
        killers=(f"{_STUCK}a_person_is_asked_with_what_is_at_stake_and_orders_the_close_once",),
    ),
    Mutant(
        name="a-no-is-forgotten",
        incident="9",
        harm="a person forbids the close, and the policy orders it all the same",
        path="fulgurite/stuck/progress.py",
        old="        self.forbidden |= event is LadderEvent.REJECTED\n",
        new="",
        killers=(f"{_LADDER}a_no_stands_against_the_policy_until_a_person_takes_it_back",),
    ),
    Mutant(
        name="one-htlc-takes-every-channel",
        incident="9",
        harm="channels whose HTLCs have hundreds of blocks left are closed with one that has few",
        path="fulgurite/stuck/progress.py",
        old="            return [point for point in self.to_close() if "
        "self.stakes[point].expiry_height <= last]\n",
        new="            return self.to_close() if self.blocks_to_expiry <= near else []\n",
        killers=(f"{_LADDER}near_expiry_closes_the_channel_whose_own_expiry_is_near_and_no_other",),
    ),
    Mutant(
        name="the-order-outlives-its-reason",
        incident="9",
        harm="an order for a peer that was away closes the channel of one that is back",
        path="activities/closing.py",
        old="    if ask.only_while_away and channel.active:\n",
        new="    if False:\n",
        killers=(f"{_CLOSING}a_peer_that_is_back_keeps_its_channel",),
    ),
    # T: fees beyond what was allowed.
    Mutant(
        name="a-spent-budget-is-given-back",
        incident="T",
        harm="a bump that LND took once, and refuses now, frees a budget that was spent",
        path="fulgurite/channels/progress.py",
        old="            if order.taken and not answer.taken:\n",
        new="            if False:\n",
        killers=(f"{_CLOSING_COURSES}what_lnd_took_stays_reserved",),
    ),
    # A ladder that climbs twice.
    Mutant(
        name="the-ladder-climbs-twice",
        incident="9",
        harm="after an order that came to nothing the next one follows at once, for ever",
        path="fulgurite/stuck/climbing.py",
        old="    if tip is None or not points or tip.height <= ladder.ordered_at_height:\n",
        new="    if tip is None or not points:\n",
        killers=(
            f"{_LADDER}an_order_that_came_to_nothing_is_not_given_again_before_the_next_block",
        ),
    ),
    Mutant(
        name="a-yes-is-good-for-two-closes",
        incident="9",
        harm="a person's yes from before orders another close of what hangs later",
        path="fulgurite/stuck/progress.py",
        old="            self.decision = None\n",
        new="            pass\n",
        killers=(f"{_LADDER}a_yes_orders_one_close",),
    ),
    # B: the chain decides, and only LND says how.
    Mutant(
        name="on-chain-is-failed",
        incident="B",
        harm="a payment whose channel closes is told as failed, and its preimage comes later",
        path="fulgurite/payments/states.py",
        old="Edge(each, _E.WENT_ON_CHAIN, _S.RESOLVING_ON_CHAIN,",
        new="Edge(each, _E.WENT_ON_CHAIN, _S.FAILED,",
        killers=(f"{_LIFECYCLE}what_lnd_has_ends_by_lnds_word_alone",),
    ),
    Mutant(
        name="on-chain-is-sent-again",
        incident="3",
        harm="a payment that the chain still decides gets another attempt",
        path="fulgurite/payments/states.py",
        old='Edge(_S.RESOLVING_ON_CHAIN, _E.FAILED, _S.FAILED, "by timeout"),',
        new='Edge(_S.RESOLVING_ON_CHAIN, _E.FAILED, _S.BACKING_OFF, "by timeout"),',
        killers=(f"{_LIFECYCLE}what_went_on_chain_is_not_tried_again",),
    ),
    # P: somebody who waits must be told, and must not spin.
    Mutant(
        name="the-ladder-spins",
        incident="P",
        harm="once its time has passed, the ladder asks LND without a pause",
        path="fulgurite/stuck/progress.py",
        old="min((moment for moment in moments if moment > now), default=None)",
        new="min(moments, default=None)",
        killers=(f"{_STUCK}time_alone_closes_no_channel_whose_peer_is_there",),
    ),
    Mutant(
        name="a-lost-verdict-is-never-asked-for",
        incident="K",
        harm="the payment's workflow is gone, and the ladder waits for its word for ever",
        path="fulgurite/stuck/progress.py",
        old="        if picture.payment and picture.payment.terminal:\n"
        "            self.verdict = picture.payment\n",
        new="",
        killers=(f"{_STUCK}the_verdict_is_found_where_nobody_tells_it",),
    ),
    Mutant(
        name="a-reorg-is-not-seen",
        incident="T",
        harm="a confirmation that was taken back still counts, and the sweep is given up on",
        path="fulgurite/stuck/climbing.py",
        old="    if ladder.taken_back():\n"
        '        return LadderEvent.REORGED, "the block of the commitment was taken back"\n',
        new="",
        killers=(f"{_STUCK}a_reorg_takes_the_ladder_back_a_rung",),
    ),
    Mutant(
        name="an-htlc-hides-what-was-swept-beside-it",
        incident="I",
        harm="a receipt lacks an HTLC that was swept with another channel's balance",
        path="nodes/lnd/sweeps.py",
        old="if not spend.next_stage and not any",
        new="if not any",
        killers=(f"{_SHARED}an_htlc_on_its_way_hides_no_balance",),
    ),
    Mutant(
        name="what-nobody-knows-yet-is-told-as-nothing",
        incident="I",
        harm="a receipt lacks what was swept with outputs of a channel that still closes",
        path="nodes/lnd/listed.py",
        old="not swept.unknown.isdisjoint(others)",
        new="False",
        killers=(f"{_SHARED}what_only_the_other_channel_will_tell_is_waited_for",),
    ),
)
