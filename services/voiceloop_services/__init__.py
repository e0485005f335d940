"""The reference stack: whisper, llama, kokoro and the outbound audio processor, each a process of its own."""
