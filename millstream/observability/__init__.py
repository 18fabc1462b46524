"""Metrics, health, logs, traces and the watchdog."""
