"""Mathematics that the chapters compute with and no training uses."""
