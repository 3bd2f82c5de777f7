"""One recorded run of one method on one LeNet: its data, settings, loop and files."""
