"""The language model service: a chat per call, its replies passed on clause by clause."""
