"""The book's figures, a module for each subject; ``style`` is what they share."""
