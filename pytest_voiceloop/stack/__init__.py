"""What runs: services, links, ports and processes. Knows no pytest and no audio."""
