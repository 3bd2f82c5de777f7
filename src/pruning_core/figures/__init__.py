"""The book's figures, a module for each subject; ``style`` is what they share."""

from pruning_core.extras import need

need("book")
