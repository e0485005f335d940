"""Text to speech: text frames from llama in, audio frames to outbound."""
