"""poold beside an LND: accounts, bids and leases. Its protobuf ends here."""
