"""Idle queues are listened to: what nobody announces is handled within moments, whatever dies meanwhile."""
