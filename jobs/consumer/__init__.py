"""The consumer: receives a queue's messages, runs its handler on them in parallel, and settles the outcomes.

receiver -> buffer -> slots -> outcome -> acknowledger, beside a visibility heartbeat. No part touches MongoDB: its
settings come from the worker, and its counts go there.
"""
