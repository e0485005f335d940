"""The speech-to-text service: hears calls, finds where the caller stops speaking, passes the words on."""
