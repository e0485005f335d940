"""The models of the reference stack: what they are called, where they come from, where they lie."""

from voiceloop_services.models.catalogue import CATALOGUE, DEFAULTS, VOICE_BYTES
from voiceloop_services.models.store import Located, locate

__all__ = ["CATALOGUE", "DEFAULTS", "VOICE_BYTES", "Located", "locate"]
