"""What both papers are compared with: other prices of weights and units, and noise on them."""
