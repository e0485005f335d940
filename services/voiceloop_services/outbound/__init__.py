"""The outbound audio processor: audio frames from kokoro in, RTP to the caller out."""
