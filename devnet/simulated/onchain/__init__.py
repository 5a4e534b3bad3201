"""The chain under the channels: transactions, blocks, the mempool and the nodes' wallets."""
