"""Text and bytes to objects and back, and nothing else: no file, no socket, no clock."""
