"""The web views."""
