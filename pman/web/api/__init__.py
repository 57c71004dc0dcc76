"""What pman answers over HTTP: v1 as the platform knows it, v2 for people and tools, and the description."""
