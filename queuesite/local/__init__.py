"""What `up` runs on one machine: the embedded servers, and the processes that it supervises."""
