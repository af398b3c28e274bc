"""The listener: a process beside a worker's consumers that holds long polls on its idle queues.

It knows queues only by their URLs, not who may process them: it hands what it receives to its worker at once.
"""
