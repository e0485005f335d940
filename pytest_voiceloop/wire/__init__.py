"""Bytes to frames and back. No sockets, no pytest: what the services of a stack say to each other."""
