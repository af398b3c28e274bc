import os
import socket
from urllib.parse import urlsplit

from queues.sqs.express.endpoint import Credentials, Prepared
from queues.sqs.express.multiplexer import Multiplexer
from queues.sqs.express.signing import Keys
from queues.sqs.express.wire import Letters
from queuesite.foundation.addresses import embedded_keys, sqs_address
from queuesite.foundation.config import get_config


def multiplexer():
    config = get_config()
    address = sqs_address(config)
    k = (
        embedded_keys(config)
        if config.embedded_sqs
        else {
            "aws_access_key_id": os.environ["AWS_ACCESS_KEY_ID"],
            "aws_secret_access_key": os.environ["AWS_SECRET_ACCESS_KEY"],
        }
    )
    prepared = Prepared(
        address, config.aws_region, address, "Queuesite", Keys(k["aws_access_key_id"], k["aws_secret_access_key"])
    )
    parts = urlsplit(address)

    def connect():
        s = socket.create_connection((parts.hostname, parts.port), 5)
        s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return s

    return Multiplexer(
        Letters(address, config.aws_region, user_agent="Queuesite"), Credentials(prepared, None), connect, address
    )
