"""The listener: a process beside a worker's consumers that holds long polls on its idle queues.

It knows queues by their URLs, and nothing of who may process them: what it receives it hands to its worker at once.
"""
