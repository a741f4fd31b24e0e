"""The ledger: what a release is, which digests it must have, and what was found."""
