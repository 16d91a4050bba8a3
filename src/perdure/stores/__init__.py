"""Storage interpreters, and the contract they fulfil."""
