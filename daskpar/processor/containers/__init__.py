"""Starts fork servers and commands in containers of podman or docker: command line, mounts, ends."""
