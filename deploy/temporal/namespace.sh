#!/bin/sh
# Makes the namespace and the search attributes that payments are found by. The worker needs
# both. Running it again changes nothing.
#
# Reads TEMPORAL_ADDRESS and TEMPORAL_NAMESPACE, as the temporal command does.
set -eu

RETENTION=30d # how long a closed payment stays to be looked at
TRIES=60      # one a second

# A server that has just started refuses for some seconds, and so does a new namespace.
eventually() {
    tries=0
    until "$@"; do
        tries=$((tries + 1))
        [ "$tries" -lt "$TRIES" ] || { echo "gave up: $*" >&2; return 1; }
        sleep 1
    done
}

namespace_exists() {
    temporal operator namespace describe --namespace "$TEMPORAL_NAMESPACE" >/dev/null 2>&1 ||
        temporal operator namespace create --namespace "$TEMPORAL_NAMESPACE" --retention "$RETENTION"
}

search_attribute() {
    eventually temporal operator search-attribute create --name "$1" --type "$2"
}

eventually temporal operator cluster health
eventually namespace_exists
search_attribute FulguriteState Keyword
search_attribute FulguriteNode Keyword
search_attribute FulguritePaymentHash Keyword
search_attribute FulguriteDestination Keyword
search_attribute FulguriteAmountMsat Int
search_attribute FulguriteFailureReason Keyword
search_attribute FulguriteKey Keyword
search_attribute FulguriteEventType Keyword
