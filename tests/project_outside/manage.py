"""The command line of a Django project that only enqueues: it has our code on its path, but none of our apps."""

import os
import sys

if __name__ == "__main__":
    os.environ["DJANGO_SETTINGS_MODULE"] = "outside.settings"
    from django.core.management import execute_from_command_line

    execute_from_command_line(sys.argv)
