"""OG-MARL's vaults: unpacking, reading, converting, digests."""
