"""What exists: queues, their definitions, their messages, and the handlers that process them."""
