"""OG-MARL's vaults: unpacking, reading, finding episodes, converting, and the digests of the files."""
