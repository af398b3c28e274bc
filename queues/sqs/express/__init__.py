"""The express lane: the hot operations of SQS at a fifth of what boto3's calls cost.

- `signing`: AWS's Signature Version 4. Pure.
- `protocol`: SQS's JSON protocol: what each operation asks, and what its answer means. Pure.
- `wire`: HTTP/1.1 as bytes, for clients that block and clients that do not. Pure.
- `endpoint`: SQS's address and the keys to it, prepared before a fork; renewal of credentials by boto3.
- `retries`: which failures are tried again, when, and what may not be. Pure but for its quota.
- `connections`: sockets: TLS, proxies, keep-alive.
- `transport`: the data plane made of these.
"""
