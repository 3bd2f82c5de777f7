"""Studies: runs that are declared, recorded and resumed, and the ledger of claims about them."""
