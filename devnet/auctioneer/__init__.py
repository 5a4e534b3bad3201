"""A small auctioneer for real poolds, since Pool's own is closed. Test equipment, no more.

It serves what poold calls: accounts (Taproot with MuSig2 as in BIP 327, and no older kind),
orders, and batches of one ask and one bid. It is honest where money is: it signs nothing
that it did not work out itself, and a batch that its journal has signed is published and
made final, whatever kills it. It is not honest work where only strangers would be kept out:
it asks for no L402, checks no order's signature, and rates every node the same.

Its fees go to the miners. It keeps no wallet, so nobody has to look after one.
"""
