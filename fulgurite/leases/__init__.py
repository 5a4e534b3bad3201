"""Inbound liquidity by Lightning Pool: a bid, the channels it wins, and the term they last."""
