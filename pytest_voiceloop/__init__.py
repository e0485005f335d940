"""pytest-voiceloop: boots a voice stack, phones it, and says where the time went."""
