"""Builds docker-compose.cpu.yml under podman, runs it for real and says what was seen: see `__main__`."""
